"""The way to a target through other machines: each is reached from the one before, none has to be trusted.

What lies between sees ciphertext. A station is a node of irosh or a machine with an ordinary SSH server, in any order.
To the last node on the way there is a link, as to every node, which may go through those before it; at each SSH server
we log in, end to end. From one to the next:

- from a node to its peer, or to an SSH server: the node's service ``jump``;
- from an SSH server to another: an ordinary channel, as ``ssh -J``;
- from an SSH server to a node: the program ``irosh proxy`` there.
"""

from __future__ import annotations

import asyncio
import shlex
import socket
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from irosh.core.errors import ErrorCode, IroshError, system_message
from irosh.core.gateway_list import check_entry
from irosh.core.hops import NamedStop, PeerStop, SshStop, Stop, as_user
from irosh.core.identity import Identity
from irosh.core.socket_spec import SocketSpec
from irosh.core.ssh_settings import SshSettings
from irosh.core.wording import escape
from irosh.node.node import Node, Reached
from irosh.node.peer_connection import FactorRequired, PeerConnection
from irosh.node.target_request import TargetRequest
from irosh.node.ways import DEADLINE, Passage, shown_way
from irosh.rendezvous.carried import Carriage
from irosh.rendezvous.interfaces import Exchange
from irosh.services.shell.channel_opening import opened
from irosh.services.shell.channel_stream import ChannelStream
from irosh.services.shell.gateway_service import named_server
from irosh.services.shell.login import ServeAgent, SSHLink
from irosh.services.shell.messages import JumpRequest
from irosh.services.shell.plain_login import Person, log_in_plainly, ssh_settings
from irosh.transport.interfaces import ConnectionLost, Stream
from irosh.transport.joining import ClosableStream
from irosh.transport.socket_stream import SocketStream

CONNECT_DEADLINE = 15.0

T = TypeVar("T")


class Station(Protocol):
    """Where we are on the way, and how to go on from there."""

    name: str

    async def to_peer(self, peer_id: str) -> Stream:
        """A stream to the SSH server of a node, which shall ask for our key."""

    async def to_server(self, host: str, port: int) -> ClosableStream:
        """A stream to an ordinary SSH server."""

    def failure(self) -> IroshError | None:
        """Why it cannot be used any more, if so."""


@dataclass
class Here:
    """This machine. It reaches nodes over links of its own, which is the matter of whoever sets out."""

    name: str = "this machine"

    async def to_peer(self, peer_id: str) -> Stream:
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

    async def to_peer(self, peer_id: str) -> Stream:
        return await self._jump(JumpRequest(peer=peer_id))

    async def to_server(self, host: str, port: int) -> ClosableStream:
        return await self._jump(JumpRequest(server=str(SocketSpec("tcp", host=host, port=port))))

    async def _jump(self, request: JumpRequest) -> Stream:
        jump = await self.connection.open("jump", request)
        await jump.answer()
        return jump.stream

    def failure(self) -> IroshError | None:
        return self.connection.session.close_reason() if self.connection.session.is_closed else None


@dataclass
class BySSH:
    """An ordinary machine where we have logged in by SSH."""

    name: str
    link: SSHLink

    async def to_peer(self, peer_id: str) -> Stream:
        stream = ChannelStream()
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
    """An SSH server at the end of a way: the stream to it, before anybody has logged in; how to open one more."""

    name: str
    open_stream: Callable[[], Coroutine[Any, Any, ClosableStream]]
    settings: SshSettings


@dataclass
class Journey:
    """One way, with all that it holds open; a context manager that closes it. ``reached``: the last node on it."""

    node: Node
    identity: Identity
    person: Person
    reached: Reached | None = None
    _stations: list[Station] = field(default_factory=lambda: [Here()])
    _links: list[SSHLink] = field(default_factory=list)

    async def __aenter__(self) -> Journey:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the SSH connections of the way; the link to the last node is the node's."""
        while self._links:
            await self._links.pop().aclose()

    @property
    def via(self) -> list[str]:
        """The hops."""
        before = [] if self.reached is None else self.reached.connection.via
        return [*before, *(station.name for station in self._stations[1:])]

    async def travel(self, asked: TargetRequest, hops: Sequence[Stop], exchange: Exchange | None = None) -> None:
        """Go to the last of ``hops``; ``asked`` is about how to meet the first. ``IroshError`` that names the hop."""
        nodes = [position for position, stop in enumerate(hops) if isinstance(stop, PeerStop)]
        rest = hops
        if nodes:
            await self._reach(hops[nodes[-1]], hops[: nodes[-1]], asked, exchange)
            rest = hops[nodes[-1] + 1 :]
        for stop in rest:
            await self._step(str(stop), self._go_to(stop))

    async def to_peer(self, peer_id: str) -> Passage:
        """A stream to what lets guests in at the node ``peer_id``. ``IroshError`` that names the failing hop."""
        name = self._name_of(peer_id)
        stream = await self._step(name, self._stations[-1].to_peer(peer_id))

        def broken() -> IroshError:
            lost = ConnectionLost(ErrorCode.CONNECTION_LOST, _complaint(stream) or "the way on broke off")
            return self.failure(name, lost) or lost

        def blame(error: IroshError) -> IroshError:
            if complaint := _complaint(stream):
                error = IroshError(error.code, f"`irosh proxy` there says: {complaint}")
            elif error.code is ErrorCode.UNKNOWN_PEER:
                hint = f"this machine has to be a peer there: irosh peer add {self.identity.id} --allow shell"
                error = IroshError(error.code, error.message, hint)
            return self._blamed(name, error)

        via = tuple(self.via)
        return Passage(Carriage(stream, shown_way(via), len(via), broken, self.aclose), via, blame)

    async def find(self, target: Stop) -> Goal:
        """The SSH server ``target`` at the end of the way. ``IroshError`` that names the failing hop."""
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
        return self._blamed(target, error)

    # -- steps

    async def _reach(self, stop: Stop, before: Sequence[Stop], asked: TargetRequest, exchange: Exchange | None) -> None:
        """The node ``stop`` by a link, which goes through what comes ``before`` it."""
        assert isinstance(stop, PeerStop)
        self.reached = await self.node.reach(_first_leg(asked, stop, before), exchange)
        self._stations.append(AtPeer(self.reached.peer.petname, self.reached.connection))

    async def _go_to(self, stop: Stop) -> None:
        goal = await self._goal(stop)
        self._stations.append(BySSH(goal.name, await self._logged_in(goal, None)))

    async def _meant(self, named: NamedStop) -> SshStop:
        """The machine that the gateway we are at shows by this name."""
        station = self._stations[-1]
        if not isinstance(station, AtPeer):
            raise IroshError(ErrorCode.USAGE, "the gateway itself has to be the station before its names")
        url = await named_server(self.node.trust, station.connection, station.name, named.name)
        return as_user(check_entry(named.name, url), named.user)

    async def _goal(self, stop: Stop) -> Goal:
        station = self._stations[-1]
        if isinstance(stop, NamedStop):
            stop = await self._meant(stop)
        assert isinstance(stop, SshStop)
        settings = await ssh_settings(stop)

        async def open_to_server() -> ClosableStream:
            return await station.to_server(settings.hostname, settings.port)

        return Goal(str(stop), open_to_server, settings)

    async def _logged_in(self, goal: Goal, serve_agent: ServeAgent | None) -> SSHLink:
        link = await log_in_plainly(goal.settings, self.identity, self.person, goal.open_stream, serve_agent)
        self._links.append(link)
        return link

    async def _step(self, name: str, step: Coroutine[Any, Any, T]) -> T:
        """One step, with a deadline; its error says where it went wrong."""
        patience = None if self.person.questions is not None else DEADLINE  # a person has deadlines of its own
        try:
            async with asyncio.timeout(patience):
                return await step
        except TimeoutError:
            error = IroshError(ErrorCode.TIMEOUT, f"no answer within {DEADLINE:g} s")
        except FactorRequired:
            raise  # the hop asks the person, who then sets out again
        except IroshError as failure:
            error = failure
        raise self._blamed(name, error)

    def _blamed(self, name: str, error: IroshError) -> IroshError:
        if len(self._stations) == 1:
            return error
        return IroshError(error.code, f"from hop {self._stations[-1].name} to {name}: {error.message}", error.hint)

    def _name_of(self, peer_id: str) -> str:
        peer = self.node.trust.get(peer_id)
        return peer.petname if peer is not None else f"{peer_id[:10]}…"


def _complaint(stream: Stream) -> str:
    """What the program that carries ``stream`` complained of, in one line."""
    said = stream.complaint if isinstance(stream, ChannelStream) else ""
    return escape(" ".join(said.split()), 300)


def _first_leg(asked: TargetRequest, stop: PeerStop, before: Sequence[Stop]) -> TargetRequest:
    return TargetRequest(
        target=stop.target,
        jump=tuple(each.text for each in before),
        mode=asked.mode,
        network=asked.network,
        paths=None if before else asked.paths,
        accept_new=asked.accept_new,
        agent_socket=asked.agent_socket,
        answers=asked.answers,
    )
