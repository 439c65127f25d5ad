"""Files and file systems as the operating system has them."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount or to change owners")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def in_small_tmpfs(tmp_path: Path, options: str, code: str) -> subprocess.CompletedProcess[str]:
    """Run Python ``code`` with a tmpfs mounted on sys.argv[1], in a mount namespace of its own."""
    unshare = shutil.which("unshare")
    if os.geteuid() != 0 or unshare is None:
        pytest.skip("needs root and unshare(1) to mount a file system")
    place = tmp_path / "mount"
    place.mkdir()
    script = 'mount -t tmpfs -o "$1" tmpfs "$2" || exit 99; exec "$3" -c "$4" "$2"'
    command = [unshare, "-m", "sh", "-c", script, "sh", options, str(place), sys.executable, code]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode == 99 or "unshare" in result.stderr:
        pytest.skip("mounting is not allowed here")
    return result
