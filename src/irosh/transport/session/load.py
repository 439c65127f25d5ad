"""How much is on its way over one carrier, how fast it gets there, and whether it still does. Pure: time is given.

The rate is the largest of the recent deliveries' rates, as in BBR (draft-ietf-ccwg-bbr, section 4.1); so much is
entrusted to a carrier that it is never idle, and no more, as what waits in it can go no other way.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

FIRST_ROOM = 256 * 1024
MOST_ROOM = 16 * 1024 * 1024
SLACK = 0.1  # seconds: of acknowledgements that gather, and of programs that wait for their turn
RATE_MEMORY = 10.0  # seconds
RTT_MEMORY = 15.0
STALL_AFTER = 0.3
UNKNOWN_RTT = 0.1
LEAST_RTT = 0.0005  # engines give whole milliseconds


@dataclass(frozen=True)
class Mark:
    """What was known when something was sent."""

    time: float
    delivered: int
    due: float
    """When it should have arrived and been acknowledged."""


class CarrierLoad:
    """Times in seconds, sizes in bytes."""

    def __init__(self, now: float) -> None:
        self.rtt = UNKNOWN_RTT
        self.outstanding = 0
        self.delivered = 0
        self.stalled = False
        self.stalled_since = 0.0
        self._least_rtts: deque[tuple[float, float]] = deque()
        self._rates: deque[tuple[float, float]] = deque()  # falling
        self._progress = now

    @property
    def rate(self) -> float:
        """Bytes a second; a guess until something was delivered."""
        return self._rates[0][1] if self._rates else FIRST_ROOM / max(self.rtt, 0.01)

    @property
    def room(self) -> int:
        """Bytes that may be entrusted to it now."""
        least = self._least_rtts[0][1] if self._least_rtts else self.rtt
        most = max(FIRST_ROOM, min(MOST_ROOM, int(2 * self.rate * (least + SLACK)))) if self._rates else FIRST_ROOM
        return most - self.outstanding

    def arrival(self, size: int) -> float:
        """Seconds until ``size`` more bytes would have arrived."""
        return self.rtt / 2 + (self.outstanding + size) / self.rate

    def measured(self, rtt: float, now: float) -> None:
        """The engine says what a round trip takes."""
        self.rtt = rtt = max(rtt, LEAST_RTT)
        while self._least_rtts and self._least_rtts[-1][1] >= rtt:
            self._least_rtts.pop()
        self._least_rtts.append((now, rtt))
        while now - self._least_rtts[0][0] > RTT_MEMORY:
            self._least_rtts.popleft()

    def sent(self, size: int, now: float) -> Mark:
        """``size`` more bytes are on their way."""
        if not self.outstanding:
            self._progress = now
        due = now + self.arrival(size) + self.rtt + SLACK
        self.outstanding += size
        return Mark(now, self.delivered, due)

    def arrived(self, size: int, mark: Mark, now: float) -> None:
        """The peer has ``size`` bytes that were sent at ``mark``."""
        self.outstanding -= size
        self.delivered += size
        rate = (self.delivered - mark.delivered) / max(now - mark.time, 0.001)
        while self._rates and self._rates[-1][1] <= rate:
            self._rates.pop()
        self._rates.append((now, rate))
        while len(self._rates) > 1 and now - self._rates[0][0] > RATE_MEMORY:
            self._rates.popleft()
        self.progressed(now)

    def withdrawn(self, size: int) -> None:
        """``size`` bytes are on their way no more."""
        self.outstanding -= size

    def progressed(self, now: float) -> None:
        """There is proof that it works."""
        self._progress = now
        self.stalled = False

    def look(self, now: float) -> bool:
        """Whether it stalls, and did not before: nothing of what is on its way has arrived for long."""
        if self.stalled or not self.outstanding or now - self._progress <= max(STALL_AFTER, 3 * self.rtt):
            return False
        self.stalled = True
        self.stalled_since = now
        return True
