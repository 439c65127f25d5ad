"""What all kinds of forwards have in common: where they listen, and the connections they carry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.socket_spec import SocketSpec
from irosh.core.socks import SocksError
from irosh.node.destination import Destination
from irosh.node.forward_way import ForwardWay
from irosh.node.node import Node
from irosh.node.peer_connection import PeerConnection
from irosh.services.tunnel.carrying import Opened
from irosh.services.tunnel.messages import ForwardText, TunnelRequest
from irosh.services.tunnel.opening import probe
from irosh.services.tunnel.promises import Promises
from irosh.transport.interfaces import SpliceCounters, Stream

Report = Callable[[str, dict[str, Any]], None]


@dataclass
class ForwardContext(ABC):
    """What forwards to one target share. ``changed`` is called when a connection has begun or ended."""

    report: Report
    changed: Callable[[], None] = field(default=lambda: None, init=False)

    @abstractmethod
    async def open(self, target: SocketSpec) -> Opened:
        """A stream to ``target``. ``IroshError``."""

    @abstractmethod
    async def check(self, target: SocketSpec) -> None:
        """``IroshError`` when the far end says now that ``target`` cannot be had."""


@dataclass
class LinkContext(ForwardContext):
    """To a peer, by a link of this node's own. ``udp_idle`` in seconds."""

    node: Node
    destination: Destination
    udp_idle: float
    promises: Promises

    async def connect(self) -> PeerConnection:
        """The session with the peer; it is dialled if there is none."""
        return await self.node.links.get(self.destination)

    async def open(self, target: SocketSpec) -> Opened:
        return await (await self.connect()).open("tunnel", TunnelRequest(str(target)))

    async def check(self, target: SocketSpec) -> None:
        await probe(await self.connect(), target)


@dataclass
class WayContext(ForwardContext):
    """To a target through other machines."""

    way: ForwardWay

    async def open(self, target: SocketSpec) -> Opened:
        return _Arrived(await self.way.open(target))

    async def check(self, target: SocketSpec) -> None:
        """SSH cannot ask without connecting."""


@dataclass
class _Arrived:
    stream: Stream

    async def answer(self) -> None:
        """It was given before there was a stream."""


@dataclass(eq=False)
class Carried:
    """An open connection: who made it, and where it goes."""

    peer: str
    target: str
    counters: SpliceCounters = field(default_factory=SpliceCounters)

    def to_dict(self) -> dict[str, Any]:
        """As :class:`irosh.faces.cli.forwarding.ForwardedConnection` reads it."""
        return {
            "peer": self.peer,
            "target": self.target,
            "sent": self.counters.sent,
            "received": self.counters.received,
        }


class Forward(ABC):
    """One forward. ``sent`` are bytes from whoever connected to its listener, ``received`` those to it."""

    def __init__(self, asked: ForwardText, context: ForwardContext) -> None:
        self.asked = asked
        self.context = context
        self.listens: list[SocketSpec] = []
        self.carried: dict[Carried, None] = {}
        self._past = SpliceCounters()

    @abstractmethod
    def link_restored(self) -> None:
        """There is a new session with the peer, after the one before has ended."""

    @abstractmethod
    async def start(self) -> None:
        """Begin to listen; :attr:`listens` says where. ``IroshError``: denied, port-taken, bind-failed, …"""

    @abstractmethod
    async def stop(self) -> None:
        """Listen no more. Connections that are open go on."""

    @abstractmethod
    async def abort(self) -> None:
        """End the connections that are open."""

    @contextmanager
    def carrying(self, peer: str, target: str) -> Iterator[Carried]:
        """Count a connection while the context lasts; what it cannot be carried for is reported, and ends the context.

        That is ``IroshError`` and ``SocksError``.
        """
        carried = Carried(peer, target)
        self.carried[carried] = None
        self.context.changed()
        try:
            yield carried
        except IroshError as error:
            self.refused(peer, carried.target, error)
        except SocksError as error:
            self.refused(peer, "SOCKS", IroshError(ErrorCode.PROTOCOL, str(error)))
        finally:
            del self.carried[carried]
            self._past.sent += carried.counters.sent
            self._past.received += carried.counters.received
            self.context.changed()

    def refused(self, peer: str, target: str, error: IroshError) -> None:
        """Report a connection that could not be carried."""
        fields = {"kind": self.asked.kind, "spec": self.asked.text, "client": peer, "source": target}
        self.context.report("refused", {**fields, "error": error.to_dict()})

    def to_dict(self) -> dict[str, Any]:
        """As :class:`irosh.faces.cli.forwarding.ForwardState` reads it."""
        counters = [self._past, *(carried.counters for carried in self.carried)]
        return {
            "kind": self.asked.kind,
            "spec": self.asked.text,
            "listens": [listen_text(listen) for listen in self.listens],
            "connections": [carried.to_dict() for carried in list(self.carried)[:MAX_SHOWN]],
            "open": len(self.carried),
            "sent": sum(each.sent for each in counters),
            "received": sum(each.received for each in counters),
        }


MAX_SHOWN = 1000  # connections of one forward, so that a list fits a control frame


def listen_text(listen: SocketSpec) -> str:
    """``127.0.0.1:8080``, ``[::1]:8080`` or the path of a socket."""
    return listen.path or str(listen).partition("://")[2]
