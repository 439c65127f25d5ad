"""The way to a target through other machines: each is reached from the one before, none has to be trusted.

At every station but the first we log in by SSH, end to end: what lies between sees ciphertext. A station is a node of
irosh or a machine with an ordinary SSH server, in any order:

- from a node to its peer: the node's service ``jump``, or a channel to ``ID.irosh`` if we are there by SSH;
- from a node to an SSH server: the same service, or an ordinary channel;
- from an SSH server to another: an ordinary channel, as ``ssh -J``;
- from an SSH server to a node: the program ``irosh proxy`` there.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import socket
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from irosh.core.errors import ErrorCode, IroshError, system_message
from irosh.core.gateway_list import check_entry
from irosh.core.hops import NamedStop, PeerStop, SshStop, Stop, as_user, check_loops
from irosh.core.identity import Identity
from irosh.core.petname import DOMAIN
from irosh.core.socket_spec import SocketSpec
from irosh.core.ssh_settings import SshSettings
from irosh.core.ticket import parse_target
from irosh.core.trust import TrustStore
from irosh.core.wording import escape
from irosh.node.accounts import DEFAULT_USER
from irosh.node.node import Node, Reached
from irosh.node.peer_connection import FactorRequired, PeerConnection
from irosh.node.targets import TargetRequest
from irosh.rendezvous.interfaces import Exchange
from irosh.services.shell.channel_opening import opened
from irosh.services.shell.channel_stream import ChannelStream
from irosh.services.shell.gateway_service import named_server
from irosh.services.shell.login import ServeAgent, SSHLink, log_in
from irosh.services.shell.messages import JumpRequest
from irosh.services.shell.plain_login import Person, log_in_plainly, ssh_settings
from irosh.transport.joining import ClosableStream
from irosh.transport.socket_stream import SocketStream

STEP_DEADLINE = 60.0  # seconds from one station to the next
CONNECT_DEADLINE = 15.0
SSH_PORT = 22

T = TypeVar("T")


class Station(Protocol):
    """Where we are on the way, and how to go on from there."""

    name: str

    async def to_peer(self, peer_id: str) -> ClosableStream:
        """A stream to the SSH server of a node, which shall ask for our key."""

    async def to_server(self, host: str, port: int) -> ClosableStream:
        """A stream to an ordinary SSH server."""

    def failure(self) -> IroshError | None:
        """Why it cannot be used any more, if so."""


@dataclass
class Here:
    """This machine. It reaches nodes over links of its own, which is the matter of whoever sets out."""

    name: str = "this machine"

    async def to_peer(self, peer_id: str) -> ClosableStream:
        raise NotImplementedError  # a way that begins at a node begins with its link

    async def to_server(self, host: str, port: int) -> ClosableStream:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_DEADLINE):
                infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                return SocketStream(await _connected(loop, infos))
        except TimeoutError:
            raise IroshError(ErrorCode.TARGET_UNREACHABLE, f"{host} port {port}: no answer") from None
        except OSError as error:
            reason = error.strerror if isinstance(error, socket.gaierror) else system_message(error)
            raise IroshError(ErrorCode.TARGET_UNREACHABLE, f"{host} port {port}: {reason}") from None

    def failure(self) -> IroshError | None:
        return None


async def _connected(loop: asyncio.AbstractEventLoop, infos: Sequence[Any]) -> socket.socket:
    failure: OSError | None = None
    for family, kind, protocol, _, address in infos:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure or OSError("it has no address")


@dataclass
class AtPeer:
    """A node to which we have a link."""

    name: str
    connection: PeerConnection

    async def to_peer(self, peer_id: str) -> ClosableStream:
        return await self._jump(JumpRequest(peer=peer_id))

    async def to_server(self, host: str, port: int) -> ClosableStream:
        return await self._jump(JumpRequest(server=str(SocketSpec("tcp", host=host, port=port))))

    async def _jump(self, request: JumpRequest) -> ClosableStream:
        jump = await self.connection.open("jump", request)
        await jump.answer()
        return jump.stream

    def failure(self) -> IroshError | None:
        return self.connection.session.close_reason() if self.connection.session.is_closed else None


@dataclass
class BySSH:
    """A machine where we have logged in by SSH: a node (``is_node``) or any other."""

    name: str
    link: SSHLink
    is_node: bool

    async def to_peer(self, peer_id: str) -> ClosableStream:
        stream = ChannelStream()
        if self.is_node:
            await opened(self._ssh.create_connection(lambda: stream, peer_id + DOMAIN, SSH_PORT))
        else:
            command = shlex.join(["irosh", "proxy", "--on-behalf", peer_id])
            await opened(self._ssh.create_session(lambda: stream, command, encoding=None))
        return stream

    async def to_server(self, host: str, port: int) -> ClosableStream:
        stream = ChannelStream()
        await opened(self._ssh.create_connection(lambda: stream, host, port))
        return stream

    def failure(self) -> IroshError | None:
        return None if self.link.alive else IroshError(ErrorCode.CONNECTION_LOST, "the SSH connection to it was lost")

    @property
    def _ssh(self) -> Any:
        return self.link.connection


@dataclass(frozen=True)
class Goal:
    """Where a way ends: the stream to its SSH server, before anybody has logged in; how to open one more.

    ``peer_id``: of a node. ``settings``: of any other SSH server. ``user``: whom to be there, if that was said.
    """

    name: str
    open_stream: Callable[[], Coroutine[Any, Any, ClosableStream]]
    user: str | None
    peer_id: str | None = None
    settings: SshSettings | None = None


@dataclass
class Journey:
    """One way, with all that it holds open; a context manager that closes it. ``reached``: the first hop, if a node."""

    node: Node
    identity: Identity
    person: Person
    reached: Reached | None = None
    _stations: list[Station] = field(default_factory=lambda: [Here()])
    _links: list[SSHLink] = field(default_factory=list)

    async def __aenter__(self) -> Journey:
        return self

    async def __aexit__(self, *_: object) -> None:
        while self._links:
            await self._links.pop().aclose()

    @property
    def via(self) -> list[str]:
        """The hops."""
        return [station.name for station in self._stations[1:]]

    async def travel(
        self, asked: TargetRequest, hops: Sequence[Stop], target: Stop, exchange: Exchange | None = None
    ) -> Goal:
        """Go through ``hops``; ``asked`` is about how to meet the first. ``IroshError`` that names the failing hop."""
        check_loops([self._resolved(stop) for stop in (*hops, target)])
        for position, stop in enumerate(hops):
            await self._step(str(stop), self._go_to(stop, asked, exchange, first=position == 0))
        return await self._step(str(target), self._goal(target))

    async def log_in(self, goal: Goal, serve_agent: ServeAgent | None = None) -> SSHLink:
        """Log in at the end of the way. ``IroshError`` that names the failing hop."""
        return await self._step(goal.name, self._logged_in(goal, serve_agent))

    async def open(self, goal: Goal) -> ClosableStream:
        """A stream to the SSH server at the end, for a program that speaks SSH itself. ``IroshError`` likewise."""
        return await self._step(goal.name, goal.open_stream())

    def failure(self, target: str, error: IroshError) -> IroshError | None:
        """Which part of the way broke, if one did, as ``error`` seems to say: the first, as the others go with it."""
        before = self._stations[0]
        for station in self._stations[1:]:
            if (failure := station.failure()) is not None:
                where = "" if before is self._stations[0] else f", behind {before.name}"
                return IroshError(failure.code, f"hop {station.name}{where}: {failure.message}", failure.hint)
            before = station
        if before is self._stations[0]:
            return None
        return IroshError(error.code, f"from hop {before.name} to {target}: {error.message}", error.hint)

    # -- steps

    async def _go_to(self, stop: Stop, asked: TargetRequest, exchange: Exchange | None, *, first: bool) -> None:
        if first and isinstance(stop, PeerStop):
            self.reached = await self.node.reach(_first_leg(asked, stop), exchange)
            self._stations.append(AtPeer(self.reached.peer.petname, self.reached.connection))
            return
        goal = await self._goal(stop)
        link = await self._logged_in(goal, None)
        self._stations.append(BySSH(goal.name, link, is_node=isinstance(stop, PeerStop)))

    async def _meant(self, named: NamedStop) -> SshStop:
        """The machine that the gateway we are at shows by this name."""
        station = self._stations[-1]
        if not isinstance(station, AtPeer):
            raise IroshError(ErrorCode.USAGE, "names of gateways are for those with a link of this machine's own")
        url = await named_server(self.node.trust, station.connection, station.name, named.name)
        return as_user(check_entry(named.name, url), named.user)

    async def _goal(self, stop: Stop) -> Goal:
        station = self._stations[-1]
        if isinstance(stop, NamedStop):
            stop = await self._meant(stop)
        if isinstance(stop, PeerStop):
            peer_id = self._peer_id(stop.target)

            async def open_to_peer() -> ClosableStream:
                return await station.to_peer(peer_id)

            return Goal(self._name_of(peer_id), open_to_peer, stop.user, peer_id=peer_id)
        settings = await ssh_settings(stop)

        async def open_to_server() -> ClosableStream:
            return await station.to_server(settings.hostname, settings.port)

        return Goal(str(stop), open_to_server, stop.user, settings=settings)

    async def _logged_in(self, goal: Goal, serve_agent: ServeAgent | None) -> SSHLink:
        if goal.settings is not None:
            link = await log_in_plainly(goal.settings, self.identity, self.person, goal.open_stream, serve_agent)
        else:
            assert goal.peer_id is not None
            user = goal.user or DEFAULT_USER
            stream = await goal.open_stream()
            try:
                link = await log_in(self.identity, stream, goal.peer_id, user, serve_agent)
            except IroshError as error:
                if complaint := _complaint(stream):
                    raise IroshError(error.code, f"`irosh proxy` there says: {complaint}") from None
                if error.code is not ErrorCode.DENIED:
                    raise
                hint = f"this machine has to be a peer there: irosh peer add {self.identity.id} --allow shell"
                raise IroshError(error.code, error.message, hint if user == DEFAULT_USER else error.hint) from None
        self._links.append(link)
        return link

    async def _step(self, name: str, step: Coroutine[Any, Any, T]) -> T:
        """One step, with a deadline; its error says where it went wrong."""
        station = self._stations[-1]
        patience = None if self.person.questions is not None else STEP_DEADLINE  # a person has deadlines of its own
        try:
            async with asyncio.timeout(patience):
                return await step
        except TimeoutError:
            error = IroshError(ErrorCode.TIMEOUT, f"no answer within {STEP_DEADLINE:g} s")
        except FactorRequired:
            raise  # the hop asks the person, who then sets out again
        except IroshError as failure:
            error = failure
        if station is self._stations[0] and len(self._stations) == 1:
            raise error
        raise IroshError(error.code, f"from hop {station.name} to {name}: {error.message}", error.hint)

    # -- names

    def _resolved(self, stop: Stop) -> Stop:
        """With one spelling for each node, so that a way in a circle is seen."""
        if isinstance(stop, PeerStop):
            with contextlib.suppress(IroshError):
                return PeerStop(self._peer_id(stop.target))
        return stop

    def _peer_id(self, target: str) -> str:
        return known_peer_id(self.node.trust, self.identity.id, target)

    def _name_of(self, peer_id: str) -> str:
        peer = self.node.trust.get(peer_id)
        return peer.petname if peer is not None else f"{peer_id[:10]}…"


def known_peer_id(trust: TrustStore, own_id: str, target: str) -> str:
    """The identity that ``target`` means: of a peer, or in an id or a ticket. ``IroshError`` (unknown-target, …)."""
    ticket = parse_target(target)
    if ticket is not None:
        peer_id = ticket.endpoint_id
    else:
        peer = trust.find(target)
        if peer is None:
            raise IroshError(
                ErrorCode.UNKNOWN_TARGET,
                f"no peer is named {target[:64]!r}, so its key could not be checked behind a hop",
                "name it first: irosh peer add ID --name NAME; its ID is what `irosh identity show` says there",
            )
        peer_id = peer.id
    if peer_id == own_id:
        raise IroshError(ErrorCode.UNKNOWN_TARGET, "that is this machine itself", "use it on another machine")
    return peer_id


def _complaint(stream: ClosableStream) -> str:
    """What the program that carries ``stream`` complained of, in one line."""
    said = stream.complaint if isinstance(stream, ChannelStream) else ""
    return escape(" ".join(said.split()), 300)


def _first_leg(asked: TargetRequest, stop: PeerStop) -> TargetRequest:
    return TargetRequest(target=stop.target, mode=asked.mode, network=asked.network, paths=asked.paths)
