"""What names an ordinary SSH server: ``ssh://[USER@]HOST[:PORT]``. Pure; next to nothing is imported for it."""

from __future__ import annotations

SCHEME = "ssh://"


def is_ssh_url(text: str) -> bool:
    """Whether ``text`` means an ordinary SSH server."""
    return text.strip().lower().startswith(SCHEME)
