"""A connection's packets keep their order, and others do not wait behind it."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from irosh.core.ip_packet import TCP, UDP
from irosh.services.vpn.offload import Offloaded
from irosh.services.vpn.ordering import LASTS, MOST, Ordering
from tests.support.packets import packet4, packet6

A, B = IPv4Address("100.64.7.2"), IPv4Address("10.1.2.3")


def segment_of(port: int, size: int = 0) -> bytes:
    return struct.pack(">HHIIBBHHH", port, 80, 1, 2, 0x50, 0x10, 100, 0, 0) + bytes(size)


def large(port: int = 4000) -> Offloaded:
    return Offloaded(1348, packet4(A, B, segment_of(port, 5000), protocol=TCP))


def small(port: int = 4000, protocol: int = TCP) -> Offloaded:
    return Offloaded(1, packet4(A, B, segment_of(port), protocol=protocol))


def test_a_connection_that_sends_much_keeps_its_order() -> None:
    ordering = Ordering()
    assert not ordering.by_stream(small(), 0.0)
    assert ordering.by_stream(large(), 1.0)
    assert ordering.by_stream(small(), 1.0 + LASTS / 2)
    assert not ordering.by_stream(small(), 1.0 + LASTS)
    assert not ordering.by_stream(small(), 1.0 + LASTS / 2), "it has been forgotten"


def test_others_do_not_wait_behind_it() -> None:
    ordering = Ordering()
    ordering.by_stream(large(), 1.0)
    assert not ordering.by_stream(small(4001), 1.0)
    assert not ordering.by_stream(small(protocol=UDP), 1.0)
    assert not ordering.by_stream(Offloaded(0, b"\x45" + bytes(19)), 1.0)
    six = packet6(IPv6Address("fd00::2"), IPv6Address("fd01::3"), segment_of(4000), following=TCP)
    assert not ordering.by_stream(Offloaded(0, six), 1.0)


def test_while_the_peer_sends_much_nothing_is_left_to_chance() -> None:
    ordering = Ordering()
    ordering.received(small(), 1.0)
    assert not ordering.by_stream(small(), 1.0)
    ordering.received(large(), 1.0)
    assert ordering.by_stream(small(4001, UDP), 1.0 + LASTS / 2)
    assert not ordering.by_stream(small(4001, UDP), 1.0 + LASTS)


def test_many_connections_do_not_fill_the_memory() -> None:
    ordering = Ordering()
    for port in range(3 * MOST):
        assert ordering.by_stream(large(port), 1.0)
    assert not ordering.by_stream(small(0), 1.0), "the first ones are forgotten"
    assert ordering.by_stream(small(3 * MOST - 1), 1.0)
