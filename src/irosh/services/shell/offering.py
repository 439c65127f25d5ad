"""What a command with ``-A`` has of its own: an agent to offer, and an SSH link that nobody else's sessions use."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncssh
import msgspec

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.peer import ForwardAgent, Peer
from irosh.node.control import Channel
from irosh.node.node import Reached
from irosh.node.questions import Questions
from irosh.services.shell.agent_client import AgentOffer, AgentRelay, check_agent
from irosh.services.shell.client import log_in_over
from irosh.services.shell.login import ServeAgent
from irosh.services.shell.messages import ConnectRequest

log = logging.getLogger(__name__)


async def as_set_for(peer: Peer | None, request: ConnectRequest) -> ConnectRequest:
    """``request`` with its agent offered or not: where the command says nothing, as is set for the peer.

    What was only set does not stop a session: without an agent, or anybody to ask, none is offered.
    """
    if request.forward_agent is not None:
        return request
    chosen: ForwardAgent = "no" if peer is None else peer.forward_agent
    if chosen != "no" and not await _can_offer(request, chosen):
        chosen = "no"
    return msgspec.structs.replace(request, forward_agent=chosen)


async def _can_offer(request: ConnectRequest, chosen: ForwardAgent) -> bool:
    if request.agent_socket is None or (chosen == "confirm" and not request.answers):
        return False
    try:
        await check_agent(request.agent_socket)
    except IroshError as error:
        log.info("no ssh-agent is offered: %s", error)
        return False
    return True


@asynccontextmanager
async def offered_agent(
    request: ConnectRequest, host: str, questions: Questions | None
) -> AsyncIterator[ServeAgent | None]:
    """What to serve the host's wishes by while the context lasts; None when no agent is offered to it.

    ``IroshError`` (not-running) when there is no agent.
    """
    if request.forward_agent in (None, "no"):
        yield None
        return
    if request.agent_socket is None:
        raise IroshError(
            ErrorCode.NOT_RUNNING, "there is no ssh-agent: SSH_AUTH_SOCK is not set", "start one, or leave out -A"
        )
    await check_agent(request.agent_socket)
    confirm = request.forward_agent == "confirm"
    relay = AgentRelay(AgentOffer(request.agent_socket, host, questions if confirm else None))
    if confirm and questions is None:
        raise IroshError(ErrorCode.USAGE, "nobody is there to confirm the use of keys", "leave out --confirm-agent")
    try:
        yield relay.serve
    finally:
        await relay.aclose()


@asynccontextmanager
async def own_link(
    identity: Identity, reached: Reached, request: ConnectRequest, channel: Channel
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """An SSH connection to the peer for this command alone, with its agent offered there."""
    questions = Questions(channel) if request.answers else None
    async with offered_agent(request, reached.peer.petname, questions) as serve_agent:
        link = await log_in_over(identity, reached.connection, request.user, serve_agent)
        try:
            yield link.connection
        finally:
            await link.aclose()
