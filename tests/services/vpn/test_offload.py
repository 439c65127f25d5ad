"""Large packets: whatever the kernel or a peer says is to be done to one, only what can be done to it is."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.ip_packet import TCP, UDP
from irosh.services.vpn.offload import HEADER_SIZE, MOST_SEGMENTS, Offloaded, from_system, header_for, pack, unpack
from tests.support.fuzzing import fuzz_runs
from tests.support.packets import packet4, packet6

A, B = IPv4Address("100.64.7.2"), IPv4Address("10.1.2.3")
A6, B6 = IPv6Address("fd00:7::2"), IPv6Address("fd01::3")
HEADER = struct.Struct("=BBHHHH")
ACK, SYN, RST = 0x10, 0x02, 0x04


def tcp(size: int, *, flags: int = ACK, words: int = 5) -> bytes:
    return struct.pack(">HHIIBBHHH", 4000, 80, 1, 2, words << 4, flags, 100, 0, 0) + bytes(4 * (words - 5) + size)


def four(payload: bytes, protocol: int = TCP, fragment: int = 0) -> bytes:
    return packet4(A, B, payload, protocol=protocol, fragment=fragment)


def six(payload: bytes) -> bytes:
    return packet6(A6, B6, payload, following=TCP)


@pytest.mark.parametrize(("packet", "kind", "start"), [(four(tcp(5000)), 1, 20), (six(tcp(5000)), 4, 40)])
def test_a_large_packet_crosses_whole(packet: bytes, kind: int, start: int) -> None:
    header = HEADER.pack(1, kind, start + 20, 1348, start, 16)
    offloaded = from_system(header + packet)
    assert offloaded == Offloaded(1348, packet)
    assert unpack(pack(offloaded)) == offloaded
    assert header_for(offloaded) == header


def test_an_open_checksum_crosses_open() -> None:
    for packet, offset in ((four(tcp(9)), 16), (four(bytes(8), UDP), 6)):
        offloaded = from_system(HEADER.pack(1, 0, 0, 0, 20, offset) + packet)
        assert offloaded == Offloaded(1, packet)
        assert header_for(offloaded) == HEADER.pack(1, 0, 0, 0, 20, offset)


def test_a_checksum_elsewhere_is_made_here() -> None:
    inner = b"\x12\x34\x00\x00\x56"  # the sum is to go to its bytes 2 and 3
    offloaded = from_system(HEADER.pack(1, 0, 0, 0, 28, 2) + four(bytes(8) + inner, UDP))
    assert offloaded is not None
    assert offloaded.segment == 0
    assert offloaded.packet[-5:] == b"\x12\x34\x97\xcb\x56"  # ~(0x1234 + 0x5600)
    assert from_system(HEADER.pack(1, 0, 0, 0, 28, 60_000) + four(bytes(8), UDP)) is None


@pytest.mark.parametrize(
    ("segment", "packet"),
    [
        (1, four(bytes(40), 47)),
        (1, four(bytes(7), UDP)),
        (1, four(tcp(0)[:17])),
        (1, four(tcp(9), fragment=0x2000)),
        (1348, four(tcp(9), fragment=1)),
        (1348, four(bytes(5000), UDP)),
        (1348, four(tcp(5000, flags=SYN))),
        (1348, four(tcp(5000, flags=RST))),
        (1348, four(tcp(5000, words=4))),
        (1348, four(tcp(0, words=15)[:30])),
        (1348, four(tcp(1348))),
        (65_535, four(tcp(5000))),
        (7, four(tcp(100))),
        (8, four(tcp(8 * MOST_SEGMENTS + 1))),
        (2, six(tcp(5000))),
    ],
)
def test_what_cannot_be_done_is_not(segment: int, packet: bytes) -> None:
    assert header_for(Offloaded(segment, packet)) is None


@fuzz_runs(500)
@given(
    st.integers(0, 65_535), st.binary(max_size=120).map(bytes), st.sampled_from([tcp(600), bytes(60)]), st.booleans()
)
def test_nonsense_makes_no_header_that_points_outside(segment: int, noise: bytes, payload: bytes, v6: bool) -> None:
    mixed = bytes(a ^ b for a, b in zip(payload, noise.ljust(len(payload), b"\0"), strict=True))
    for packet in (noise, six(mixed) if v6 else four(mixed)):
        header = header_for(Offloaded(segment, packet)) if packet else None
        if header is not None:
            flags, kind, headers, size, start, offset = HEADER.unpack(header)
            assert len(header) == HEADER_SIZE
            assert flags == (segment > 0)
            assert flags == 0 or 20 <= start < start + offset + 2 <= len(packet)
            if kind:
                assert start + 20 <= headers < len(packet)
                assert size == segment
                assert (len(packet) - headers) / size <= MOST_SEGMENTS


@fuzz_runs(300)
@given(st.binary(max_size=100), st.binary(min_size=HEADER_SIZE, max_size=HEADER_SIZE))
def test_nothing_makes_it_fail(data: bytes, header: bytes) -> None:
    for each in (data, header + data, header + four(data, UDP)):
        from_system(each)
        unpack(each)
