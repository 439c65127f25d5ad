"""The operations ``connect`` and ``proxy`` where the way leads through other machines."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import AsyncIterator
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.hops import PeerStop, Stop, as_user, parse_stop, parse_way
from irosh.core.identity import Identity
from irosh.node.control import Channel
from irosh.node.exchange import ChannelExchange
from irosh.node.forward_way import ForwardWay
from irosh.node.link_events import link_events
from irosh.node.node import Node
from irosh.node.operations import path_summary
from irosh.node.questions import Questions
from irosh.services.shell.client import run_session
from irosh.services.shell.journey import Goal, Journey
from irosh.services.shell.login import SSHLink
from irosh.services.shell.messages import ConnectRequest, ProxyRequest, ThroughRequest, WayRequest
from irosh.services.shell.offering import as_set_for, offered_agent
from irosh.services.shell.plain_login import Person
from irosh.services.shell.ssh_way import SSHWay
from irosh.transport.joining import join
from irosh.transport.socket_stream import SocketStream

log = logging.getLogger(__name__)


async def connect_through(node: Node, identity: Identity, channel: Channel, request: ConnectRequest) -> None:
    """A session at the end of the way."""
    *hops, target = _way(request, request.user)
    request = await as_set_for(node.trust.find(target.target) if isinstance(target, PeerStop) else None, request)
    person = _person(request, channel)
    async with (
        offered_agent(request, str(target), person.questions) as serve_agent,
        Journey(node, identity, person) as journey,
    ):

        async def arrive() -> tuple[Goal, SSHLink]:
            goal = await journey.travel(request, hops, target, ChannelExchange(channel))
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
    *hops, target = _way(request, request.user)
    async with Journey(node, identity, _person(request, channel)) as journey:

        async def arrive() -> tuple[Goal, SSHLink]:
            goal = await journey.travel(request, hops, target, ChannelExchange(channel))
            return goal, await journey.log_in(goal)

        goal, link = await channel.while_connected(arrive())
        connected = {**_arrived(journey, goal), "node": os.getpid()}
        yield SSHWay(link.connection, connected, lambda error: journey.failure(goal.name, error) or error)


async def proxy_through(node: Node, identity: Identity, channel: Channel, request: ProxyRequest) -> None:
    """The SSH server at the end of the way, for the program that the control connection's bytes come from."""
    *hops, target = _way(request, None)
    async with Journey(node, identity, _person(request, channel)) as journey:

        async def arrive() -> tuple[Goal, Any]:
            goal = await journey.travel(request, hops, target, ChannelExchange(channel))
            return goal, await journey.open(goal)

        goal, stream = await channel.while_connected(arrive())
        await channel.answer(_arrived(journey, goal))
        await join(SocketStream(channel.socket), stream)
        await stream.close()


def _way(request: ThroughRequest, user: str | None) -> tuple[Stop, ...]:
    """The stations; the target is the last."""
    return parse_way(request.jump, as_user(parse_stop(request.target), user))


def _person(request: ThroughRequest, channel: Channel) -> Person:
    return Person(request.agent_socket, Questions(channel) if request.answers else None, request.accept_new)


def _arrived(journey: Journey, goal: Goal) -> dict[str, Any]:
    reached = journey.reached
    path = {"path": "none", "rtt_ms": None, "paths": []} if reached is None else path_summary(reached.connection)
    return {"peer": goal.name, "id": goal.peer_id, "new": False, "via": journey.via, **path}
