"""``irosh ssh-config --write`` and ``--remove``: a block in the user's own OpenSSH configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from irosh.core.edited_file import change_own_file, read_own_file
from irosh.core.errors import IroshError
from irosh.core.managed_block import ManagedBlock
from irosh.core.private_file import file_error
from irosh.core.wording import escape

_NOTE = "# Written by `irosh ssh-config --write`, which replaces it; `--remove` takes it out."
# What stood at the beginning of the file, before any Host line, was for all hosts; it shall stay so.
_REST = "Host *"


@dataclass(frozen=True)
class ChangedFile:
    """What became of ``path``; ``backup`` is where the old content is, if there was any and it changed."""

    path: Path
    changed: bool
    present: bool
    backup: Path | None

    def fields(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {
            "file": str(self.path),
            "changed": self.changed,
            "backup": None if self.backup is None else str(self.backup),
        }

    def __str__(self) -> str:
        state = "has the peers" if self.present else "has no peers of irosh"
        if not self.changed:
            return f"{self.path} {state} already" if self.present else f"{self.path} {state}"
        kept = f"; the old file is {self.backup}" if self.backup is not None else ""
        return f"{self.path} {state}{kept}" if self.present else f"{self.path} {state} any more{kept}"


def change_file(file: Path | None, state: str | None, text: str | None) -> ChangedFile:
    """Have ``text`` in the block of ``file`` (``~/.ssh/config``); None: no block. ``state`` tells blocks apart.

    The block goes to the beginning, as the first value that OpenSSH finds counts; one that was moved stays where it
    is. ``IroshError``: usage, disk-full, state-unusable; the file is then as it was.
    """
    path = _user_file() if file is None else file
    block = ManagedBlock("irosh peers" if state is None else f"irosh peers of {escape(state, 1000)}")
    content, status = read_own_file(path)
    try:
        changed = block.remove(content) if text is None else block.put(content, _lines(text))
    except IroshError as error:
        raise IroshError(error.code, f"{path}: {error.message}", error.hint) from None
    present = text is not None
    if changed == content:
        return ChangedFile(path, changed=False, present=present, backup=None)
    backup = path.with_name(f"{path.name}.before-irosh")
    change_own_file(path, changed, status, backup)
    return ChangedFile(path, changed=True, present=present, backup=None if status is None else backup)


def _lines(text: str) -> bytes:
    return f"{_NOTE}\n{text}\n\n{_REST}\n".encode() if text else f"{_NOTE}\n".encode()


def _user_file() -> Path:
    directory = Path.home() / ".ssh"
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise file_error("make", directory, error) from error
    return directory / "config"
