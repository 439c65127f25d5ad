"""What the two ends of a tunnel say to each other."""

from __future__ import annotations

from typing import Literal

import msgspec

from irosh.core.forward_spec import ForwardKind, listen_hosts
from irosh.core.socket_spec import SocketSpec, bracketed, parse_listen, parse_source
from irosh.node.target_request import TargetRequest


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


class ForwardText(msgspec.Struct, frozen=True, omit_defaults=True):
    """A forward, as commands send it and get it back: ``text`` as typed, and what it means.

    ``host`` None is the loopback address of IPv4 and of IPv6, ``*`` every interface. ``path`` instead of both for a
    Unix socket; ``unlink``: one in its way here is removed. ``target`` None: as each connection says by SOCKS.
    """

    kind: ForwardKind
    text: str
    host: str | None = None
    port: int = 0
    path: str = ""
    target: str | None = None
    unlink: bool = False

    def listens(self) -> list[SocketSpec]:
        """Where it is to listen. ``IroshError`` (invalid-address)."""
        if self.path:
            return [parse_listen(f"unix://{self.path}")]
        return [parse_listen(f"tcp://{bracketed(host)}:{self.port}") for host in listen_hosts(self.host)]

    def destination(self) -> SocketSpec | None:
        """Where its connections go. ``IroshError`` (invalid-address)."""
        return None if self.target is None else parse_source(self.target)


class ForwardCommand(msgspec.Struct):
    """What a command that holds forwards asks; the answer has the same ``number``.

    ``add`` and ``cancel`` a forward, ``list`` all, or wait until none of their connections is open (``idle``).
    """

    command: Literal["add", "cancel", "list", "idle"]
    number: int
    forward: ForwardText | None = None


class HoldRequest(TargetRequest, kw_only=True):
    """Operation ``forward.hold``: what :class:`ForwardCommand` asks, of the forwards that the node itself holds."""

    command: Literal["add", "cancel", "list"]
    forward: ForwardText | None = None


class StdioRequest(TargetRequest, kw_only=True):
    """Operation ``tunnel.stdio``: one connection to ``source``; see :mod:`irosh.node.handed_socket`."""

    source: str


class ListenRequest(msgspec.Struct, omit_defaults=True):
    """Opens a stream of service ``listen``: listen at ``listens``, which differ in their addresses only.

    Each connection comes back on a stream of service ``forwarded``, which ``token`` lets in.
    """

    listens: list[str]
    token: bytes

    @property
    def summary(self) -> str:
        """What the stream is for, as ``irosh status`` shows it."""
        return " ".join(self.listens)

    def __repr__(self) -> str:
        return f"ListenRequest(listens={self.listens!r})"


class Listening(msgspec.Struct):
    """First on a stream of service ``listen``, from the host: where it listens now."""

    listens: list[str]


class ForwardedRequest(msgspec.Struct, omit_defaults=True):
    """Opens a stream of service ``forwarded``: a connection that ``origin`` made to ``listen`` on the host."""

    token: bytes
    listen: str
    origin: str

    @property
    def summary(self) -> str:
        """What the stream is for, as ``irosh status`` shows it."""
        return self.listen

    def __repr__(self) -> str:
        return f"ForwardedRequest(listen={self.listen!r}, origin={self.origin!r})"
