"""The text form of one tree of files: ``/srv/share``, ``/srv/share:ro``. What ``files:`` is followed by."""

from __future__ import annotations

from dataclasses import dataclass

from irosh.core.socket_spec import Fault, path_segments
from irosh.core.wording import escape, quoted

_READ_ONLY = ":ro"


@dataclass(frozen=True, slots=True)
class FileTree:
    """A directory with all below it. ``str()`` gives the text that :func:`parse_tree` reads back."""

    path: str
    """Absolute, without empty, ``.`` and ``..`` segments. It may be a symbolic link: the host's owner wrote it."""
    read_only: bool = False

    def __str__(self) -> str:
        return self.path + (_READ_ONLY if self.read_only else "")

    def covers(self, other: FileTree) -> bool:
        """Whether whoever has this one can do all that ``other`` would let them."""
        return _is_within(other.path, self.path) and (other.read_only or not self.read_only)


EVERYTHING = FileTree("/")
"""All that the account may touch."""


def parse_tree(text: str) -> FileTree:
    """``/srv/share`` or ``/srv/share:ro``. Raises :class:`~irosh.core.socket_spec.Fault`."""
    path = text.removesuffix(_READ_ONLY)
    segments = path_segments(path, f"write files:/{escape(path, 80)}" if path else "")
    if segments and segments[-1].endswith(_READ_ONLY):
        raise Fault(f"path {quoted(path)} ends with {_READ_ONLY!r}, which means read-only")
    return FileTree("/" + "/".join(segments), read_only=path != text)


def _is_within(path: str, tree: str) -> bool:
    return path == tree or path.startswith(tree.removesuffix("/") + "/")
