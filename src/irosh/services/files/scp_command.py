"""The command line by which ``scp`` starts itself at the other end. Pure."""

from __future__ import annotations

import shlex
from typing import NamedTuple

_FLAGS = "rpdvqtf"


class ScpCommand(NamedTuple):
    """``receives`` (``-t``): the client sends files here. Otherwise (``-f``) they are sent to it."""

    receives: bool
    paths: tuple[str, ...]
    recursive: bool = False
    preserves: bool = False
    into_directory: bool = False


def parse_scp_command(command: str) -> ScpCommand | None:
    """``scp -t ...`` or ``scp -f ...``; None for any other command, and for what no ``scp`` would ask."""
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    if not words or words[0] not in ("scp", "/usr/bin/scp"):
        return None
    flags = ""
    at = 1
    while at < len(words) and words[at].startswith("-") and words[at] != "-":
        at += 1
        if words[at - 1] == "--":
            break
        flags += words[at - 1][1:]
    paths = tuple(words[at:])
    if set(flags) - set(_FLAGS) or ("t" in flags) == ("f" in flags) or not paths:
        return None
    receives = "t" in flags
    if receives and len(paths) != 1:
        return None
    return ScpCommand(receives, paths, "r" in flags, "p" in flags, "d" in flags)
