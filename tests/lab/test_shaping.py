"""A shaped link does what was asked of it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.delay_line import DelayLine
from tests.lab.host import Host
from tests.lab.network import Link, Network
from tests.lab.requirements import requires_netns, requires_shaping
from tests.lab.shaping import Shape

pytestmark = [pytest.mark.netns, requires_netns(), requires_shaping()]


def round_trip(one: Host, other: Host, *, address: str | None = None) -> float:
    """Milliseconds."""
    address = address or other.address
    with one.udp_socket(address="::" if ":" in address else "") as here, other.udp_socket(address) as there:
        begun = time.perf_counter()
        here.sendto(b"ping", there.getsockname()[:2])
        there.sendto(*there.recvfrom(100))
        here.recv(100)
        return (time.perf_counter() - begun) * 1000


def quickest_round_trip(one: Host, other: Host, *, address: str | None = None) -> float:
    """Milliseconds; a busy machine only ever adds to them."""
    return min(round_trip(one, other, address=address) for _ in range(5))


@pytest.fixture
def ends() -> Iterator[tuple[Link, Host, Host]]:
    """A link, and the hosts at its ends."""
    with Network() as network:
        host, router = network.host("host"), network.router("router")
        link = network.link(host, router, "10.1.0.0/24", "2001:db8:1::/64")
        # They know each other's hardware addresses before something is measured: packets that wait for the answer to
        # that question may be overtaken or lost.
        round_trip(host, router)
        round_trip(host, router, address=router.address6)
        yield link, host, router


def received(one: Host, other: Host, packets: list[bytes]) -> tuple[list[bytes], float]:
    """Which of the packets come, in which order, and how many seconds after the first was sent the last came."""
    with one.udp_socket() as here, other.udp_socket(other.address) as there:
        there.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        there.settimeout(0.5)
        begun = ended = time.perf_counter()
        for packet in packets:
            here.sendto(packet, there.getsockname())
        came: list[bytes] = []
        while True:
            try:
                came.append(there.recv(2000))
            except TimeoutError:
                return came, ended - begun
            ended = time.perf_counter()


def numbered(count: int, size: int = 100) -> list[bytes]:
    """Packets that sort in the order in which they are sent."""
    return [b"%06d" % number + bytes(size - 6) for number in range(count)]


def test_a_delay_is_added_each_way_and_can_be_undone(ends: tuple[Link, Host, Host]) -> None:
    link, one, other = ends
    link.shape(delay=30)
    assert 60 <= quickest_round_trip(one, other) < 90
    link.shape(delay=30, direction="up")
    link.shape(direction="down")
    assert 30 <= quickest_round_trip(one, other) < 60
    link.unshape()
    assert quickest_round_trip(one, other) < 30


def test_ipv6_is_shaped_alike(ends: tuple[Link, Host, Host]) -> None:
    link, one, other = ends
    link.shape(delay=30)
    assert 60 <= quickest_round_trip(one, other, address=other.address6) < 90


def test_jitter_spreads_packets_and_keeps_their_order(ends: tuple[Link, Host, Host]) -> None:
    link, one, other = ends
    link.shape(delay=30, jitter=25, direction="up")
    trips = [round_trip(one, other) for _ in range(20)]
    assert max(trips) - min(trips) > 10
    packets = numbered(200)
    assert received(one, other, packets)[0] == packets


def test_as_many_packets_are_lost_as_asked_for(ends: tuple[Link, Host, Host]) -> None:
    link, one, other = ends
    link.shape(loss=0.3, direction="up")
    came, _ = received(one, other, numbered(1000))
    assert 600 < len(came) < 800  # six standard deviations
    link.shape(loss=1.0)
    assert received(one, other, numbered(10))[0] == []


def test_some_packets_overtake_the_others(ends: tuple[Link, Host, Host]) -> None:
    link, one, other = ends
    packets = numbered(300)
    link.shape(delay=30, reorder=0.2)
    came, _ = received(one, other, packets)
    assert came != packets
    assert sorted(came) == packets


def test_no_more_passes_than_the_rate_and_a_full_queue_drops(ends: tuple[Link, Host, Host]) -> None:
    link, one, other = ends
    packets = numbered(250, 1000)  # 250 x 1042 bytes at 10 Mbit/s: 208 ms
    link.shape(rate="10mbit", queue=1000)
    took = []
    for _ in range(3):
        came, seconds = received(one, other, packets)
        assert came == packets
        took.append(seconds)
    assert 0.2 < min(took) < 0.4  # a busy machine only ever adds to it
    link.shape(rate="10mbit", queue=50)
    came, _ = received(one, other, packets)
    assert 50 <= len(came) < 125
    assert came[:48] == packets[:48]


def test_tcp_gets_the_rate_of_the_link(ends: tuple[Link, Host, Host]) -> None:
    link, one, other = ends
    link.shape(delay=5, rate="50mbit")
    size = 2_000_000  # 320 ms at that rate
    with other.inside():
        server = socket.create_server((other.address, 0))
    with server:
        with one.inside():
            client = socket.create_connection(server.getsockname()[:2])
        accepted, _ = server.accept()
        with client, accepted:
            begun = time.perf_counter()
            sending = threading.Thread(target=client.sendall, args=(bytes(size),))
            sending.start()
            left = size
            while left:
                left -= len(accepted.recv(65_536))
            sending.join()
            assert 0.3 < time.perf_counter() - begun < 1.5


def test_what_no_link_can_be_is_refused() -> None:
    wrong: list[dict[str, Any]] = [{"loss": 30}, {"delay": -1}, {"jitter": 5}, {"reorder": 0.1}, {"rate": "fast"}]
    for shape in wrong:
        with pytest.raises(ValueError, match=r"."):
            Shape(**shape)


@given(
    packets=st.lists(st.tuples(st.floats(0, 0.05), st.integers(60, 1514)), max_size=50),
    delay=st.floats(0, 1),
    jitter=st.floats(0, 1),
    rate=st.floats(1e4, 1e9),
)
def test_a_delay_line_keeps_order_and_rate(
    packets: list[tuple[float, int]], delay: float, jitter: float, rate: float
) -> None:
    line = DelayLine(delay=delay, jitter=jitter, rate=rate, queue=0.2)
    now = last = sent_out = 0.0
    for pause, size in packets:
        now += pause
        leaves = line.departure(now, size)
        if leaves is None:
            continue
        assert leaves >= last
        last = leaves
        sent_out += size * 8
        assert now + delay - jitter <= leaves
        assert leaves <= now + 0.2 + size * 8 / rate + delay + jitter + 1e-6
    assert sent_out / rate <= last - (delay - jitter) + 1e-6 or not sent_out
