"""How ``ls -l`` would show a file, which SFTP clients print as it is."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import time
from functools import lru_cache

_HALF_A_YEAR = 365 * 24 * 3600 / 2


@lru_cache(1024)
def user_name(uid: int) -> bytes:
    """The account's name; nothing when it has none."""
    try:
        return os.fsencode(pwd.getpwuid(uid).pw_name)
    except (KeyError, OverflowError):
        return b""


@lru_cache(1024)
def group_name(gid: int) -> bytes:
    """The group's name; nothing when it has none."""
    try:
        return os.fsencode(grp.getgrgid(gid).gr_name)
    except (KeyError, OverflowError):
        return b""


def long_name(name: bytes, found: os.stat_result, *, with_names: bool) -> bytes:
    """The line for one file. ``with_names``: users and groups by name, not by number."""
    uid, gid = found.st_uid, found.st_gid
    user = (user_name(uid) if with_names else b"") or b"%d" % uid
    group = (group_name(gid) if with_names else b"") or b"%d" % gid
    mode = stat.filemode(found.st_mode).encode()
    return b"%s %3d %-8s %-8s %8d %s %s" % (
        mode,
        found.st_nlink,
        user,
        group,
        found.st_size,
        _when(found.st_mtime),
        name,
    )


def _when(changed: float) -> bytes:
    age = time.time() - changed
    try:
        shown = time.strftime("%b %e %H:%M" if 0 <= age < _HALF_A_YEAR else "%b %e  %Y", time.localtime(changed))
    except (ValueError, OverflowError, OSError):  # some file systems keep any time that is set
        shown = "?"
    return shown.encode()
