"""Headers of IP packets: those of real packets are read right, and nothing else passes for one."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.ip_packet import ICMPV6, TCP, UDP, Upper, addresses_of, upper_of
from tests.support.fuzzing import fuzz_runs
from tests.support.packets import packet4, packet6

addresses4 = st.integers(0, 2**32 - 1).map(IPv4Address)
addresses6 = st.integers(0, 2**128 - 1).map(IPv6Address)
payloads = st.binary(max_size=1500)
ports = st.integers(0, 65_535)


@given(addresses4, addresses4, payloads, st.integers(0, 10))
def test_addresses_of_ipv4(source: IPv4Address, destination: IPv4Address, payload: bytes, options: int) -> None:
    packet = packet4(source, destination, payload, options=options)
    assert addresses_of(packet) == (source.packed, destination.packed)


@given(addresses6, addresses6, payloads)
def test_addresses_of_ipv6(source: IPv6Address, destination: IPv6Address, payload: bytes) -> None:
    packet = packet6(source, destination, payload)
    assert addresses_of(packet) == (source.packed, destination.packed)


@given(addresses4, addresses4, payloads, st.integers(1, 40))
def test_a_length_that_is_not_the_header_s(
    source: IPv4Address, destination: IPv4Address, payload: bytes, wrong: int
) -> None:
    packet = packet4(source, destination, payload)
    assert addresses_of(packet + bytes(wrong)) is None
    assert addresses_of(packet[:-wrong]) is None
    six = packet6(IPv6Address("fd00::1"), IPv6Address("fd00::2"), payload)
    assert addresses_of(six + bytes(wrong)) is None
    assert addresses_of(six[:-wrong]) is None


@fuzz_runs(1000)
@given(st.binary(max_size=120) | st.binary(max_size=80).map(lambda data: b"\x45\x00" + data))
def test_nonsense(data: bytes) -> None:
    found = addresses_of(data)
    if found is not None:
        assert len(found.source) == len(found.destination) == (4 if data[0] >> 4 == 4 else 16)
        upper_of(data)


@given(ports, ports, st.sampled_from([TCP, UDP]), st.integers(0, 10))
def test_ports(source: int, destination: int, protocol: int, options: int) -> None:
    payload = struct.pack(">HH", source, destination) + bytes(16)
    packet = packet4(IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2"), payload, protocol=protocol, options=options)
    assert upper_of(packet) == Upper(protocol, destination)
    extension = bytes([protocol, 0]) + bytes(6)
    six = packet6(IPv6Address("fd00::1"), IPv6Address("fd00::2"), extension + payload, following=60)
    assert upper_of(six) == Upper(protocol, destination)


@pytest.mark.parametrize("fragment", [0x2000, 0x0001, 0x1FFF, 0x3FFF])
def test_fragments_have_no_ports(fragment: int) -> None:
    payload = struct.pack(">HH", 1, 53) + bytes(16)
    assert upper_of(packet4(IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2"), payload, fragment=fragment)) is None
    header = bytes([UDP, 0]) + bytes(6)
    six = packet6(IPv6Address("fd00::1"), IPv6Address("fd00::2"), header + payload, following=44)
    assert upper_of(six) is None


def test_what_is_cut_before_the_ports() -> None:
    four, six = IPv4Address("10.0.0.1"), IPv6Address("fd00::1")
    assert upper_of(packet4(four, four, b"\0\1\0", protocol=TCP)) is None
    assert upper_of(packet6(six, six, b"\0\1\0", following=UDP)) is None
    assert upper_of(packet6(six, six, b"\x3c", following=60)) is None
    assert upper_of(packet6(six, six, b"", following=ICMPV6)) == Upper(ICMPV6, 0)


def test_extensions_without_end_are_left() -> None:
    endless = (bytes([60, 0]) + bytes(6)) * 50
    assert upper_of(packet6(IPv6Address("fd00::1"), IPv6Address("fd00::2"), endless, following=60)) is None
