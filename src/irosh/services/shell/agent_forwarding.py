"""Where AsyncSSH's server and client meet our own agent forwarding.

AsyncSSH has one socket for all sessions of a connection, made by whoever runs the host, and asks nobody; on the
client's side it connects whoever comes to the agent. Both look up the handler of a request by its name on an object:
that is where ours goes. Should a version of it look elsewhere, requests meet AsyncSSH's own, which are switched off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncssh

from irosh.node.accounts import Account
from irosh.services.shell.agent_socket import AgentSocket, OpenAgent
from irosh.services.shell.channel_stream import ChannelStream
from irosh.transport.interfaces import Stream

NO_AGENT = "/dev/null/agent"
"""A path to give to AsyncSSH, which offers an agent to the host only if it has one; nothing can ever be there."""

_OPEN_HANDLER = "_process_auth_agent_at_openssh_dot_com_open"
_REQUEST_HANDLER = "_process_auth_agent_req_at_openssh_dot_com_request"


class SessionAgent:
    """The way to its client's agent that one session has."""

    def __init__(self, listener: AgentSocket, open_agent: OpenAgent) -> None:
        self._listener = listener
        self._open_agent = open_agent
        self.path = listener.path

    @classmethod
    def make(cls, account: Account, open_agent: OpenAgent) -> SessionAgent | None:
        """None when there can be no socket here."""
        try:
            return cls(AgentSocket(account), open_agent)
        except OSError:
            return None

    async def serve(self) -> None:
        """Until cancelled."""
        await self._listener.serve(self._open_agent)

    def close(self) -> None:
        """Take the socket away."""
        self._listener.close()


@asynccontextmanager
async def served_agent(agent: SessionAgent | None) -> AsyncIterator[None]:
    """Serve ``agent``, if there is one, while the context lasts; it is closed then."""
    if agent is None:
        yield
        return
    serving = asyncio.create_task(agent.serve())
    try:
        yield
    finally:
        serving.cancel()
        agent.close()
        await asyncio.gather(serving, return_exceptions=True)


def forward_agent(
    connection: asyncssh.SSHServerConnection,
    chan: asyncssh.SSHServerChannel[bytes],
    requested: Callable[[OpenAgent], bool],
) -> None:
    """Have ``requested`` asked when the client of the session on ``chan`` offers its agent."""

    async def open_agent() -> Stream:
        stream = ChannelStream()
        try:
            await connection.create_agent_channel().open(lambda: stream)
        except asyncssh.Error as error:
            raise ConnectionRefusedError(f"the client does not open its agent: {error.reason}") from None
        return stream

    def handle(packet: Any) -> bool:
        packet.check_end()
        return requested(open_agent)

    setattr(chan, _REQUEST_HANDLER, handle)


def offer_agent(connection: asyncssh.SSHClientConnection, serve: Callable[[Stream], None]) -> None:
    """Have ``serve`` called with each way to the agent that the host opens. It must start a task, and return."""

    def handle(packet: Any) -> tuple[Any, Any]:
        packet.check_end()
        stream = ChannelStream()
        serve(stream)
        return connection.create_unix_channel(), stream

    setattr(connection, _OPEN_HANDLER, handle)
