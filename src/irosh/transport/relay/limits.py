"""A token bucket: how long a sender has to wait so that it keeps to a rate on average, with bursts. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable


class TokenBucket:
    """Lets ``rate`` units a second pass on average, and up to ``burst`` at once after a pause.

    What has been taken cannot be given back, as when bytes were read from a socket before their number was
    known, so the bucket can be overdrawn: :meth:`take` then tells how long to take nothing more.

    Args:
        rate: units per second, above 0.
        burst: units that a full bucket holds, above 0.
        clock: monotonic time in seconds.

    Raises:
        ValueError: ``rate`` or ``burst`` is not a number above 0.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        if not (0 < rate < math.inf and 0 < burst < math.inf):
            raise ValueError("rate and burst must be above 0")
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._level = burst
        self._updated = clock()

    def take(self, amount: float) -> float:
        """Takes ``amount`` units; returns for how many seconds nothing more should be taken (0 if none)."""
        self._refill()
        self._level -= amount
        return -self._level / self._rate if self._level < 0 else 0.0

    def try_take(self, amount: float) -> bool:
        """Takes ``amount`` units if the bucket has them; False, taking none, if not."""
        self._refill()
        if self._level < amount:
            return False
        self._level -= amount
        return True

    @property
    def full(self) -> bool:
        """Whether the bucket has recovered all of its burst."""
        self._refill()
        return self._level >= self._burst

    def _refill(self) -> None:
        now = self._clock()
        if now > self._updated:
            self._level = min(self._burst, self._level + (now - self._updated) * self._rate)
            self._updated = now
