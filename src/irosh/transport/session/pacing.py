"""How much of a stream may be on its way, so that what is written now is not late. Pure.

The networks between and the engine take megabytes before they hold anybody back. On a slow link that is many seconds
of output that somebody has asked to stop. As with BBR (draft-ietf-ccwg-bbr), the rate at which the peer acknowledges
says how much is enough.
"""

from __future__ import annotations

from collections.abc import Callable

LEAST = 128 * 1024  # bytes: enough to find out that there is room for more
HORIZON = 0.25  # seconds until what is written is acknowledged; acknowledgements gather for a fifth of that
SAMPLE = 0.04  # seconds of which the rate is taken


class Pacing:
    """Of one stream. ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.most = LEAST
        """Bytes that may be unacknowledged."""
        self._clock = clock
        self._since = clock()
        self._acknowledged = 0

    def begin(self) -> None:
        """The first bytes are sent after the peer had everything: the time before says nothing of the rate."""
        self._since = self._clock()
        self._acknowledged = 0

    def acknowledged(self, size: int) -> None:
        """The peer has ``size`` bytes more."""
        self._acknowledged += size
        elapsed = self._clock() - self._since
        if elapsed >= SAMPLE:
            self.most = max(LEAST, int(self._acknowledged / elapsed * HORIZON))
            self.begin()
