"""Sizes as people write them: ``64KiB``, ``16MiB``, or bare bytes."""

from __future__ import annotations

import re

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.wording import quoted

_UNITS = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SIZE = re.compile(r"([0-9]{1,12})(B|KiB|MiB|GiB)?")


def parse_size(text: str) -> int:
    """Bytes. Raises ``IroshError(USAGE)``."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise IroshError(ErrorCode.USAGE, f"{quoted(text)} is not a size", "write it like 64KiB, 16MiB or 1GiB")
    return int(match[1]) * _UNITS[match[2] or ""]


def format_size(size: int) -> str:
    """The shortest text which :func:`parse_size` reads back."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return str(size)
