"""What the two ends of a tunnel say to each other."""

from __future__ import annotations

import struct

import msgspec

from irosh.node.targets import TargetRequest

MAX_PACKET = 65_535
_LENGTH = struct.Struct(">H")
LENGTH_SIZE = _LENGTH.size


class TunnelRequest(msgspec.Struct, omit_defaults=True):
    """Asks for ``source``, a socket on the host's side.

    ``flow``: for UDP, the number of the datagram flow that belongs to this stream. ``probe``: only say whether the
    policy allows it; nothing is connected.
    """

    source: str
    flow: int | None = None
    probe: bool = False

    @property
    def summary(self) -> str:
        """What the stream is for, as ``irosh status`` shows it."""
        return self.source


class OpenRequest(TargetRequest, kw_only=True):
    """Operation ``tunnel.open``; ``udp_idle`` in seconds."""

    maps: list[MapText]
    udp_idle: float | None = None


class MapText(msgspec.Struct):
    """One ``SOURCE=LISTEN`` as typed."""

    source: str
    listen: str


def pack_packet(payload: bytes) -> bytes:
    """A UDP packet that travels on the stream: a 16-bit length, then the payload."""
    return _LENGTH.pack(len(payload)) + payload


def packet_length(prefix: bytes) -> int:
    """The length of the packet behind ``prefix``; 0 is a valid, empty packet."""
    return int(_LENGTH.unpack(prefix)[0])
