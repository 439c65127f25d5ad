"""Amounts for people: sizes, rates, fractions, times, and a line of small bars. Pure."""

from __future__ import annotations

from collections.abc import Sequence

_UNITS = ("kB", "MB", "GB", "TB", "PB")
_BARS = "▁▂▃▄▅▆▇█"


def size(count: float) -> str:
    """Bytes with three digits at most: ``999 B``, ``1.2 kB``, ``345 MB``."""
    if count < 999.5:
        return f"{count:.0f} B"
    for unit in _UNITS:
        count /= 1000
        if count < 9.95:
            return f"{count:.1f} {unit}"
        if count < 999.5:
            return f"{count:.0f} {unit}"
    return f"{count:.0f} {_UNITS[-1]}"


def rate(bytes_per_second: float) -> str:
    """Bytes a second, or ``-`` for none."""
    return f"{size(bytes_per_second)}/s" if bytes_per_second >= 0.5 else "-"


def percent(fraction: float) -> str:
    """``0%``, ``<0.1%``, ``0.4%``, ``12%``."""
    if fraction <= 0:
        return "0%"
    if fraction < 0.0005:
        return "<0.1%"
    return f"{fraction * 100:.1f}%" if fraction < 0.0995 else f"{fraction * 100:.0f}%"


def seconds(amount: float) -> str:
    """``0.4s``, ``12s``, ``3m20s``, ``2h5m``, ``4d2h``."""
    if amount < 9.95:
        return f"{amount:.1f}s"
    whole = round(amount)
    days, hours, minutes, rest = whole // 86_400, whole // 3600 % 24, whole // 60 % 60, whole % 60
    if days:
        return f"{days}d{hours}h" if hours else f"{days}d"
    if hours:
        return f"{hours}h{minutes}m" if minutes else f"{hours}h"
    if minutes:
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    return f"{rest}s"


def latency(rtt_ms: float | None, jitter_ms: float | None) -> str:
    """A round trip time and how much it varies: ``20±3 ms``. Whole milliseconds are all that is known."""
    if rtt_ms is None:
        return "-"
    if rtt_ms < 0.5:
        return "<1 ms"
    varies = f"±{jitter_ms:.0f}" if jitter_ms is not None and jitter_ms >= 0.5 else ""
    return f"{rtt_ms:.0f}{varies} ms"


def gaps(count: int, down_seconds: float) -> str:
    """How often and how long in all a session was without a connection: ``2 (35s)``, or ``-``."""
    return f"{count} ({seconds(down_seconds)})" if count or down_seconds >= 0.05 else "-"


def sparkline(values: Sequence[float | None]) -> str:
    """A bar for each value, the largest as high as a line; a space where there is none."""
    most = max((value for value in values if value is not None), default=0.0)
    return "".join(" " if value is None else _BARS[_height(value, most)] for value in values)


def _height(value: float, most: float) -> int:
    return min(len(_BARS) - 1, int(value / most * len(_BARS))) if most > 0 and value > 0 else 0
