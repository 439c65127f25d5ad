"""Packets on a stream: however the stream is cut, the packets are the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from irosh.core.packet_framing import MAX_PACKET, PacketParser, pack_packet


@given(st.lists(st.binary(max_size=300), max_size=20), st.lists(st.integers(1, 700), max_size=30))
def test_packets_come_out_as_they_went_in(packets: list[bytes], cuts: list[int]) -> None:
    parser = PacketParser()
    found: list[bytes] = []
    rest = b"".join(map(pack_packet, packets))
    for cut in [*cuts, len(rest) + 1]:
        found += parser.feed(rest[:cut])
        rest = rest[cut:]
    assert found == packets
    assert not parser.is_inside


def test_a_packet_that_breaks_off() -> None:
    parser = PacketParser()
    assert list(parser.feed(pack_packet(b"whole") + pack_packet(bytes(MAX_PACKET))[:-1])) == [b"whole"]
    assert parser.is_inside
    assert list(parser.feed(b"\0")) == [bytes(MAX_PACKET)]
    assert not parser.is_inside
