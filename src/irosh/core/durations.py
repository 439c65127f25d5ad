"""Durations as people write them: ``45s``, ``10m``, ``1h30m``, ``2d``, or bare seconds (``90``)."""

from __future__ import annotations

import re

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.wording import quoted

SECONDS_PER_UNIT = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
LONGEST = 100 * 365 * 86_400.0
"""Upper limit in seconds (a hundred years): later sums with a clock stay exact and printable."""

_NUMBER = r"[0-9]{1,12}(?:\.[0-9]{1,6})?"
_BARE = re.compile(_NUMBER)
# Each unit at most once, the largest first: "1m1h" and "1h1h" are more likely slips than intentions.
_WITH_UNITS = re.compile("".join(f"(?:({_NUMBER}){unit})?" for unit in SECONDS_PER_UNIT))
_HINT = "write it like 45s, 10m, 1h30m or 2d; a bare number is seconds"


def parse_duration(text: str) -> float:
    """Seconds of a duration text: more than zero, at most :data:`LONGEST`.

    Units are ``w d h m s``, each at most once and the largest first; a number may have decimals (``1.5h``).
    Raises ``IroshError(USAGE)``.
    """
    if _BARE.fullmatch(text):
        seconds = float(text)
    elif text and (match := _WITH_UNITS.fullmatch(text)):
        amounts = zip(match.groups(), SECONDS_PER_UNIT.values(), strict=True)
        seconds = sum(float(amount) * unit for amount, unit in amounts if amount is not None)
    else:
        raise IroshError(ErrorCode.USAGE, f"{quoted(text)} is not a duration", _HINT)
    if not 0 < seconds <= LONGEST:
        raise IroshError(
            ErrorCode.USAGE,
            f"duration {quoted(text)} is out of range",
            "from more than zero up to a hundred years",
        )
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest text which :func:`parse_duration` reads back: ``3600.0`` → ``1h``, ``90.0`` → ``1m30s``.

    Exact to a microsecond; expects what :func:`parse_duration` can return.
    """
    whole, micros = divmod(round(seconds * 1_000_000), 1_000_000)
    text = ""
    for unit, size in SECONDS_PER_UNIT.items():
        amount, whole = divmod(whole, size)
        fraction = f".{micros:06}".rstrip("0") if unit == "s" and micros else ""
        if amount or fraction:
            text += f"{amount}{fraction}{unit}"
    return text or "0s"
