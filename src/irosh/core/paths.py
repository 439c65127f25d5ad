"""How a session uses several networks at once."""

from __future__ import annotations

from enum import StrEnum

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.wording import did_you_mean, quoted


class Paths(StrEnum):
    """What ``--paths`` takes."""

    FASTEST = "fastest"
    """One path at a time, the best."""
    REDUNDANT = "redundant"
    """What is small goes over two paths at once, so that the loss of one is not noticed; bulk over the best."""
    ALL = "all"
    """Bulk is divided over all paths, for the sum of their throughput."""


def parse_paths(text: str) -> Paths:
    """``IroshError`` (usage)."""
    try:
        return Paths(text)
    except ValueError:
        hint = did_you_mean(text, list(Paths)) or f"it is one of {', '.join(Paths)}"
        raise IroshError(ErrorCode.USAGE, f"{quoted(text)} is no way to use paths", hint) from None
