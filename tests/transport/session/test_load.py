"""What is known of a carrier: how much it may be entrusted with, how fast it is, and whether it works."""

from __future__ import annotations

from irosh.transport.session.load import FIRST_ROOM, CarrierLoad

CHUNK = 64 * 1024


class Carrier:
    """One of a rate and a delay, in a model of time."""

    def __init__(self, rate: float, rtt: float) -> None:
        self.rate, self.rtt = rate, rtt
        self.now = 0.0
        self.load = CarrierLoad(self.now)
        self.load.measured(rtt, self.now)

    def fill(self, seconds: float) -> None:
        """Send as much as there is room for, again and again."""
        end = self.now + seconds
        flights = []
        free_at = self.now
        while self.now < end:
            while self.load.room >= CHUNK:
                mark = self.load.sent(CHUNK, self.now)
                free_at = max(free_at, self.now) + CHUNK / self.rate
                flights.append((free_at + self.rtt, mark))
            self.now, mark = flights.pop(0)
            self.load.arrived(CHUNK, mark, self.now)
        for at, mark in flights:
            self.now = at
            self.load.arrived(CHUNK, mark, self.now)

    def say(self, size: int) -> None:
        """Send a little, and wait until it has arrived."""
        mark = self.load.sent(size, self.now)
        self.now += self.rtt
        self.load.arrived(size, mark, self.now)


def test_the_rate_is_found_and_the_room_keeps_the_carrier_busy() -> None:
    for rate, rtt in ((12.5e6, 0.02), (12.5e6, 0.3), (1e6, 0.05)):
        carrier = Carrier(rate, rtt)
        carrier.fill(5.0)
        assert 0.9 * rate < carrier.load.rate < 1.1 * rate
        assert carrier.load.outstanding == 0
        assert carrier.load.room > 1.5 * rate * rtt


def test_who_sends_little_learns_nothing_of_the_rate() -> None:
    carrier = Carrier(12.5e6, 0.02)
    for _ in range(100):
        carrier.say(50)
    assert carrier.load.rate == FIRST_ROOM / 0.02
    carrier.fill(3.0)
    measured = carrier.load.rate
    for _ in range(100):
        carrier.say(50)
    assert carrier.load.rate == measured


def test_a_silent_carrier_stalls_and_a_sign_of_life_ends_that() -> None:
    load = CarrierLoad(0.0)
    load.measured(0.02, 0.0)
    assert not load.look(10.0)  # nothing is on its way
    load.sent(100, 10.0)
    assert not load.look(10.2)
    assert load.look(10.4)
    assert not load.look(10.5)  # it is known
    load.progressed(10.6)
    assert not load.look(10.8)
    assert load.look(11.0)


def test_a_slow_carrier_is_given_more_time() -> None:
    load = CarrierLoad(0.0)
    load.measured(0.5, 0.0)
    load.sent(100, 0.0)
    assert not load.look(1.4)
    assert load.look(1.6)
