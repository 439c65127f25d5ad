"""What a peer sees as its file system: which directories of the host appear where. Pure.

* Who may use everything sees the host's own file system, and begins in the account's home.
* Who was granted one tree sees this tree as ``/``.
* Who was granted several sees each at its own path. The directories above them hold nothing but the way there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

Names = tuple[bytes, ...]
"""The names on the way from the view's ``/`` to a file; ``()`` is ``/``. None is empty, ``.`` or ``..``."""


class Mount(NamedTuple):
    """One directory of the host, ``path``, and where it appears."""

    at: Names
    path: bytes
    read_only: bool


class View(NamedTuple):
    """The mounts of one peer. ``start``: where a path that does not begin with ``/`` begins."""

    mounts: tuple[Mount, ...]
    start: Names
    confined: bool
    """Whether this is less than all that the account may touch."""

    def mount_at(self, names: Names) -> Mount | None:
        """The mount whose root appears at ``names``."""
        return next((mount for mount in self.mounts if mount.at == names), None)

    def on_the_way(self, names: Names) -> list[bytes]:
        """What is directly below ``names`` on the way to mounts further down."""
        depth = len(names)
        below = (mount.at[depth] for mount in self.mounts if len(mount.at) > depth and mount.at[:depth] == names)
        return list(dict.fromkeys(below))

    def is_fixed(self, names: Names) -> bool:
        """Whether ``names`` is a mount's root or above one, and so can be neither moved nor removed."""
        return any(mount.at[: len(names)] == names for mount in self.mounts)

    def link_text(self, says: bytes, directory: Names) -> bytes | None:
        """What a symbolic link in ``directory`` shall say, so that it means the same to programs of the host as here.

        None when it would lead out of the mounts. This is no wall: a link can be moved to where it does. It spares the
        programs of the host that follow links; a peer is never led out by one.
        """
        onward, absolute = split(says)
        ups = next((position for position, name in enumerate(onward) if name != b".."), len(onward))
        down = onward[ups:]
        if b".." in down or ups > len(directory) or (absolute and ups):
            return None
        reached = down if absolute else (*directory[: len(directory) - ups], *down)
        if not any(reached[: len(mount.at)] == mount.at for mount in self.mounts):
            return None
        if not absolute:
            return says
        shared = 0
        while shared < min(len(directory), len(reached)) and directory[shared] == reached[shared]:
            shared += 1
        return b"/".join([b".."] * (len(directory) - shared) + list(reached[shared:])) or b"."


def everything(home: str) -> View:
    """The whole file system, as far as the account's own rights go."""
    return View((Mount((), b"/", False),), split(_encoded(home))[0], confined=False)


def confined(trees: Iterable[tuple[str, bool]]) -> View:
    """Only these trees: path, and whether it is read-only."""
    given = [(_encoded(path), read_only) for path, read_only in trees]
    if len(given) == 1:
        path, read_only = given[0]
        return View((Mount((), path, read_only),), (), confined=True)
    return View(tuple(Mount(split(path)[0], path, read_only) for path, read_only in given), (), confined=True)


def split(path: bytes) -> tuple[Names, bool]:
    """The names of ``path``, ``..`` among them, and whether it is absolute."""
    return tuple(name for name in path.split(b"/") if name not in (b"", b".")), path.startswith(b"/")


def means_directory(path: bytes) -> bool:
    """Whether ``path`` can only name a directory by the way it ends."""
    return path.endswith((b"/", b"/.")) or path == b"."


def join(names: Names) -> bytes:
    """``names`` as a path."""
    return b"/" + b"/".join(names)


def _encoded(path: str) -> bytes:
    return path.encode(errors="surrogateescape")
