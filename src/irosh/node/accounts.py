"""Unix accounts of the host: whom a session runs as, and the environment it begins with."""

from __future__ import annotations

import grp
import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass

from irosh.core.errors import ErrorCode, IroshError
from irosh.node.node import own_user

DEFAULT_USER = "-"
"""The SSH user name that means: the user the host runs as. No Unix user can have it."""

_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/games"
_ROOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


# As in Debian's sshd_config(5). Whole names: TZDIR is not TZ, and no system takes a name with "=" in it.
_ACCEPTED = re.compile(r"LANG|LANGUAGE|LC_[A-Za-z0-9_]{1,60}|COLORTERM|TZ", re.ASCII)


def is_accepted_variable(name: str, value: str) -> bool:
    """Whether a peer may set this variable of the environment for its programs."""
    return _ACCEPTED.fullmatch(name) is not None and "\0" not in value and len(value) < 1024


def accepted_environment(asked: Mapping[str, str]) -> dict[str, str]:
    """What of the environment that a peer asks for its session gets."""
    return {name: value for name, value in asked.items() if is_accepted_variable(name, value)}


@dataclass(frozen=True)
class Account:
    """A Unix user. ``switch``: the host must change to it, which only root can."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str
    switch: bool

    def environment(self) -> dict[str, str]:
        """What a login begins with, as sshd(8) sets it; nothing of the host process's own environment."""
        return {
            "HOME": self.home,
            "LOGNAME": self.name,
            "PATH": _ROOT_PATH if self.uid == 0 else _PATH,
            "SHELL": self.shell,
            "USER": self.name,
        }


def is_own_account(name: str) -> bool:
    """Whether ``name`` asks for nothing but the user the host runs as."""
    return name in (DEFAULT_USER, own_user())


def find_account(name: str) -> Account:
    """The account to run as. ``IroshError`` (denied) when there is none, or the host cannot become it."""
    if is_own_account(name):
        return _own_account()
    if os.geteuid() != 0:
        raise IroshError(
            ErrorCode.DENIED,
            f"the host runs as {own_user()} and cannot become {name}",
            f"connect as {own_user()}, or run the host as root",
        )
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise IroshError(ErrorCode.DENIED, f"the host has no user {name}") from None
    groups = tuple(os.getgrouplist(name, entry.pw_gid))
    return Account(
        name,
        entry.pw_uid,
        entry.pw_gid,
        groups,
        entry.pw_dir or "/",
        entry.pw_shell or "/bin/sh",
        switch=True,
    )


def _own_account() -> Account:
    uid = os.geteuid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:  # a container may run as a number only
        home, shell = os.environ.get("HOME", "/"), os.environ.get("SHELL", "/bin/sh")
        return Account(own_user(), uid, os.getegid(), (), home, shell, switch=False)
    return Account(entry.pw_name, uid, entry.pw_gid, (), entry.pw_dir or "/", entry.pw_shell or "/bin/sh", switch=False)


def tty_group(account: Account) -> int:
    """The group that owns terminals, as in grantpt(3)."""
    try:
        return grp.getgrnam("tty").gr_gid
    except KeyError:
        return account.gid
