"""What of one stream goes over which carrier, and what goes once more over another. Pure: time is given.

Bytes go in order, in chunks, each to the carrier by which it arrives first, if that has room; to a slower one only when
it arrives there before the faster one could have sent all that is left (earliest completion first, Lim et al., CoNEXT
2017). What a carrier that stalls or ends has not delivered goes again; so does what is late when nothing else can go
(opportunistic retransmission, Raiciu et al., NSDI 2012).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from irosh.core.errors import ErrorCode, IroshError
from irosh.transport.session.load import CarrierLoad, Mark

CHUNK = 64 * 1024
BURST = 256 * 1024
"""Bytes that go over two carriers before a stream counts as bulk."""
SMALL_RATE = 64 * 1024
"""Bytes a second that go on doing so."""

K = TypeVar("K", bound=Hashable)


@dataclass
class Flight(Generic[K]):
    """Bytes ``start`` to ``stop`` (the end of the stream counts as one) that were entrusted to a carrier."""

    start: int
    stop: int
    carrier: K
    mark: Mark
    again: bool = False
    """They have been queued once more."""
    position: int | None = None
    """Where their lane is behind them; None until they are on it."""

    @property
    def size(self) -> int:
        return self.stop - self.start


class Allowance:
    """A token bucket: what of a stream is small enough to go twice."""

    def __init__(self) -> None:
        self._left = float(BURST)
        self._at: float | None = None

    def take(self, size: int, now: float) -> bool:
        """Whether ``size`` bytes are; they are then counted."""
        if self._at is not None:
            self._left = min(BURST, self._left + (now - self._at) * SMALL_RATE)
        self._at = now
        if self._left < size:
            return False
        self._left -= size
        return True


class Sending(Generic[K]):
    """``limit``: as far as the peer lets us go. ``redundant``: small amounts go by two carriers, bulk by the best."""

    def __init__(self, limit: int, *, redundant: bool) -> None:
        self.limit = limit
        self.next = 0
        """First byte that was never sent."""
        self.acknowledged = 0
        self.is_small = False
        """Whether what was planned last is worth sending more than once."""
        self._twice = Allowance() if redundant else None
        self._again: deque[tuple[int, int, K]] = deque()  # and the carrier that has them
        self._flights: dict[K, deque[Flight[K]]] = {}
        self._positions: dict[K, int] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way or waits to go again."""
        return not self._again and not any(self._flights.values())

    def has_sent(self, stop: int) -> bool:
        """Whether nothing needs attention: all below ``stop`` has been sent, and has arrived or is lost for good."""
        return self.next >= stop and self.is_idle

    def plan(self, stop: int, loads: Mapping[K, CarrierLoad], now: float) -> list[Flight[K]]:
        """The next chunk to send, of a stream whose known bytes (and end) lie below ``stop``: by one carrier, or by
        two. Empty when there is nothing, or no room for it."""
        while self._again:
            start, behind, avoided = self._again[0]
            start = max(start, self.acknowledged)
            if start < behind:
                carrier = self._best(behind - start, behind - start, loads, avoided)
                if carrier is None:
                    return []
                self._again.popleft()
                return [self._sent(start, behind, carrier, loads, now)]
            self._again.popleft()
        start = self.next
        behind = min(self._until(stop), start + CHUNK)
        if start >= behind:
            return []
        carriers = self._choose(behind - start, stop - start, loads, now)
        if carriers:
            self.next = behind
        return [self._sent(start, behind, carrier, loads, now) for carrier in carriers]

    def acknowledge(self, offset: int) -> None:
        """The peer has all below ``offset``."""
        self.acknowledged = max(self.acknowledged, offset)

    def on_lane(self, flight: Flight[K], position: int) -> None:
        """``flight`` is on its lane, which is at ``position`` behind it."""
        flight.position = position

    def withdraw(self, flight: Flight[K], load: CarrierLoad) -> None:
        """``flight`` is not worth sending any more: the peer has it by another way."""
        flights = self._flights.get(flight.carrier)
        if flights is not None and flight in flights:
            flights.remove(flight)
            load.withdrawn(flight.size)

    def lane_arrived(self, carrier: K, position: int, load: CarrierLoad, now: float) -> None:
        """The peer has all of our lane on ``carrier`` up to ``position``."""
        if position > self._positions.get(carrier, 0):
            self._positions[carrier] = position
            load.progressed(now)
        flights = self._flights.get(carrier, deque())
        while flights and (at := flights[0].position) is not None and at <= position:
            flight = flights.popleft()
            load.arrived(flight.size, flight.mark, now)

    def release(self, loads: Mapping[K, CarrierLoad]) -> None:
        """Nothing more will be heard of what is on its way."""
        for carrier, flights in self._flights.items():
            if carrier in loads:
                loads[carrier].withdrawn(sum(flight.size for flight in flights))
        self._flights.clear()
        self._again.clear()

    def stalled(self, carrier: K) -> None:
        """What ``carrier`` has not delivered goes again, by others."""
        for flight in self._flights.get(carrier, ()):
            self._send_again(flight)

    def lost(self, carrier: K) -> None:
        """``carrier`` is gone, and what it had not delivered."""
        self._positions.pop(carrier, None)
        for flight in self._flights.pop(carrier, ()):
            self._send_again(flight)

    def look(self, stop: int, loads: Mapping[K, CarrierLoad], now: float) -> None:
        """When nothing new can go: what is late, and keeps the rest waiting, goes again by a carrier with room."""
        if self._again or self.next < self._until(stop):
            return
        for carrier, flights in self._flights.items():
            others = (load for other, load in loads.items() if other != carrier and not load.stalled)
            spare = sum(max(0, load.room) for load in others)
            for flight in flights:
                if flight.mark.due > now or spare < flight.size:
                    break
                if not flight.again:
                    spare -= flight.size
                    self._send_again(flight)

    def _send_again(self, flight: Flight[K]) -> None:
        if not flight.again and flight.stop > self.acknowledged:
            flight.again = True
            self._again.append((flight.start, flight.stop, flight.carrier))

    def _until(self, stop: int) -> int:
        return min(stop, self.limit)

    def _sent(self, start: int, stop: int, carrier: K, loads: Mapping[K, CarrierLoad], now: float) -> Flight[K]:
        flight = Flight(start, stop, carrier, loads[carrier].sent(stop - start, now))
        self._flights.setdefault(carrier, deque()).append(flight)
        return flight

    def _choose(self, size: int, left: int, loads: Mapping[K, CarrierLoad], now: float) -> list[K]:
        if self._twice is None:
            best = self._best(size, left, loads)
            return [] if best is None else [best]
        live = sorted((carrier for carrier in loads if not loads[carrier].stalled), key=lambda each: loads[each].rtt)
        roomy = [carrier for carrier in live if loads[carrier].room >= size]
        if not roomy:
            return []
        self.is_small = self._twice.take(size, now)
        if self.is_small:
            return roomy[:2]
        return roomy[:1] if roomy[0] == live[0] else []

    def _best(self, size: int, left: int, loads: Mapping[K, CarrierLoad], avoided: K | None = None) -> K | None:
        """The carrier for ``size`` bytes, of ``left`` that are to go; None to wait."""
        live = [carrier for carrier in loads if not loads[carrier].stalled and carrier != avoided]
        if not live:
            return avoided if avoided is not None and avoided in loads and not loads[avoided].stalled else None
        fastest = min(live, key=lambda each: loads[each].arrival(size))
        if loads[fastest].room >= size:
            return fastest
        roomy = [carrier for carrier in live if loads[carrier].room >= size]
        if not roomy:
            return None
        best = min(roomy, key=lambda each: loads[each].arrival(size))
        return best if loads[best].arrival(size) < loads[fastest].arrival(left) else None


def checked_acknowledgement(received: int, sent: int) -> None:
    """``IroshError`` (protocol-error) when the peer claims to have more than was ever sent."""
    if received > sent:
        raise IroshError(ErrorCode.PROTOCOL, "the peer acknowledges bytes that were not sent")
