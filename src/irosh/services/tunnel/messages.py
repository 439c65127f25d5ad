"""What the two ends of a tunnel say to each other."""

from __future__ import annotations

import msgspec

from irosh.node.targets import TargetRequest


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
