"""Process limits a node needs."""

from __future__ import annotations

import resource

_WANTED = 65_536


def raise_file_limit() -> None:
    """Raise the soft limit on open files as far as allowed: each tunnelled connection is one, the default 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
