"""The account's own shell start-up files, kept out of the tests."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import sys

_CLONE_NEWNS = 0x20000  # sched.h; the next ones: sys/mount.h. Python 3.11 has names for none of them.
_MS_BIND, _MS_REC, _MS_SLAVE = 4096, 16384, 1 << 19
_FILES = (".bash_profile", ".bash_login", ".bashrc", ".profile", ".zprofile", ".zshenv", ".zshrc")


def hide_rc_files() -> None:
    """Shells that this process starts, or what it starts, find these files empty.

    The tests start a thousand login shells of the account that runs them, many of them killed soon. What its owner has
    there (version managers, which take locks; prompts; greetings) makes them slow, or wait for one another, and the
    outcome depend on the machine. In a mount namespace of its own, so only on Linux and as root; else they stay.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    home = pwd.getpwuid(os.getuid()).pw_dir
    with contextlib.suppress(OSError):  # a container may not allow it
        _check(libc.unshare(_CLONE_NEWNS))
        _check(libc.mount(b"none", b"/", None, _MS_REC | _MS_SLAVE, None))
        for name in _FILES:
            if os.path.exists(path := os.path.join(home, name)):
                _check(libc.mount(b"/dev/null", os.fsencode(path), None, _MS_BIND, None))


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
