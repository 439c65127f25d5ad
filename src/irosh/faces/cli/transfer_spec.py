"""``[USER@]PEER:PATH`` and local paths, as arguments of the commands that move files. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

import click

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.wording import quoted

_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([kKmMgG]?)(?:i?[bB])?(?:/s)?")
_RATE_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3}


@dataclass(frozen=True)
class Location:
    """A path, here (``peer`` None) or on a peer."""

    path: str
    peer: str | None = None
    user: str | None = None


def parse_location(text: str) -> Location:
    """As scp(1): what is before the first colon is the peer, unless there is a slash before it."""
    before, colon, path = text.partition(":")
    if not colon or "/" in before:
        return Location(text)
    user, at, peer = before.rpartition("@")
    if not peer or (at and not user):
        raise click.UsageError(f"{quoted(text)} names no peer", None)
    return Location(path, peer, user or None)


def parse_rate(text: str) -> float:
    """Bytes a second: ``500k``, ``2.5M``, ``10MB/s``. ``IroshError`` (usage)."""
    match = _RATE.fullmatch(text.strip())
    rate = float(match[1]) * _RATE_UNITS[match[2].lower()] if match else 0.0
    if not rate:
        raise IroshError(ErrorCode.USAGE, f"{quoted(text)} is not a rate", "write bytes a second, like 500k or 2.5M")
    return rate
