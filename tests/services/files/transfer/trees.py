"""What is in a folder that a transfer has filled."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from irosh.services.files.transfer.partial import PREFIX

MEBIBYTE = 1024 * 1024


def tree(root: Path) -> dict[str, tuple[str, int, int, bytes]]:
    """All below ``root``: kind, permissions, time and content."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        kind = "link" if path.is_symlink() else "file" if path.is_file() else "folder"
        mode = 0 if kind == "link" else stat.S_IMODE(status.st_mode)
        found[str(path.relative_to(root))] = (kind, mode, status.st_mtime_ns, content)
    return found


def hidden(root: Path) -> list[Path]:
    """What transfers have left behind."""
    return [path for path in root.rglob("*") if os.fsencode(path.name).startswith(PREFIX)]
