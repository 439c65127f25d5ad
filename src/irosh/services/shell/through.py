"""Ways through other machines: to a node, for a link with it, and to SSH servers for ``connect`` and ``proxy``."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.hops import as_user, parse_stop, parse_way
from irosh.core.identity import Identity
from irosh.node.control import Channel
from irosh.node.exchange import ChannelExchange
from irosh.node.forward_way import ForwardWay
from irosh.node.handed_socket import join_handed_socket
from irosh.node.link_events import link_events
from irosh.node.node import Node
from irosh.node.operations import path_summary
from irosh.node.target_request import TargetRequest
from irosh.node.ways import Passage, Way, places_of
from irosh.rendezvous.interfaces import Exchange
from irosh.services.shell.client import run_session
from irosh.services.shell.journey import Goal, Journey
from irosh.services.shell.login import SSHLink
from irosh.services.shell.messages import ConnectRequest, ProxyRequest, WayRequest
from irosh.services.shell.offering import as_set_for, offered_agent
from irosh.services.shell.plain_login import Person
from irosh.services.shell.ssh_way import SSHWay
from irosh.transport.interfaces import StreamReset
from irosh.transport.joining import ClosableStream, join
from irosh.transport.socket_stream import SocketStream

log = logging.getLogger(__name__)


async def travel(node: Node, identity: Identity, way: Way, peer_id: str) -> Passage:
    """See :data:`irosh.node.ways.Travel`."""
    journey = Journey(node, identity, _person(way.asked, way.exchange))
    try:
        await journey.travel(way.asked, way.hops, way.exchange)
        return await journey.to_peer(peer_id)
    except BaseException:
        await journey.aclose()
        raise


async def connect_through(node: Node, identity: Identity, channel: Channel, request: ConnectRequest) -> None:
    """A session on the SSH server at the end of the way."""
    request = await as_set_for(None, request)
    exchange = ChannelExchange(channel)
    person = _person(request, exchange)
    async with (
        offered_agent(request, request.target, person.questions) as serve_agent,
        Journey(node, identity, person) as journey,
    ):

        async def arrive() -> tuple[Goal, SSHLink]:
            goal = await _arrive(node, journey, request, request.user, exchange)
            return goal, await journey.log_in(goal, serve_agent)

        goal, link = await channel.while_connected(arrive())
        await channel.event("connected", **_arrived(journey, goal), node=os.getpid())
        try:
            async with contextlib.AsyncExitStack() as stack:
                if journey.reached is not None:
                    await stack.enter_async_context(link_events(journey.reached.connection.session, channel))
                end = await run_session(link.connection, request, channel)
        except IroshError as error:
            if error.code is ErrorCode.CONNECTION_LOST and (failure := journey.failure(goal.name, error)) is not None:
                raise failure from None
            raise
    await channel.answer(end)


@contextlib.asynccontextmanager
async def way_through(
    node: Node, identity: Identity, channel: Channel, request: WayRequest
) -> AsyncIterator[ForwardWay]:
    """The SSH connection at the end of the way, for forwards."""
    exchange = ChannelExchange(channel)
    async with Journey(node, identity, _person(request, exchange)) as journey:

        async def arrive() -> tuple[Goal, SSHLink]:
            goal = await _arrive(node, journey, request, request.user, exchange)
            return goal, await journey.log_in(goal)

        goal, link = await channel.while_connected(arrive())
        connected = {**_arrived(journey, goal), "node": os.getpid()}
        yield SSHWay(link.connection, connected, lambda error: journey.failure(goal.name, error) or error)


async def proxy_through(node: Node, identity: Identity, channel: Channel, request: ProxyRequest) -> None:
    """The SSH server at the end of the way, for the program that the control connection's bytes come from."""
    exchange = ChannelExchange(channel)
    async with Journey(node, identity, _person(request, exchange)) as journey:

        async def arrive() -> tuple[Goal, ClosableStream]:
            goal = await _arrive(node, journey, request, None, exchange)
            return goal, await journey.open(goal)

        goal, stream = await channel.while_connected(arrive())

        async def joined(sock: socket.socket) -> Exception | None:
            try:
                await join(SocketStream(sock), stream)
            except IroshError as error:
                return journey.failure(goal.name, error) or error
            except (OSError, StreamReset) as error:
                return error
            finally:
                sock.close()
                await stream.close()
            return None

        await join_handed_socket(channel, _arrived(journey, goal), joined)


async def _arrive(
    node: Node, journey: Journey, request: TargetRequest, user: str | None, exchange: ChannelExchange
) -> Goal:
    way = parse_way(request.jump, as_user(parse_stop(request.target), user))
    places_of(node.trust, node.identity.id, way)
    *hops, target = way
    await journey.travel(request, hops, exchange)
    return await journey.find(target)


def _person(request: TargetRequest, exchange: Exchange | None) -> Person:
    questions = exchange.questions if request.answers and isinstance(exchange, ChannelExchange) else None
    return Person(request.agent_socket, questions, request.accept_new)


def _arrived(journey: Journey, goal: Goal) -> dict[str, Any]:
    reached = journey.reached
    path = {"path": "none", "rtt_ms": None, "paths": []} if reached is None else path_summary(reached.connection)
    return {"peer": goal.name, "id": None, "new": False, **path, "via": journey.via}
