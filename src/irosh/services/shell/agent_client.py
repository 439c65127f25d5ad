"""Agent forwarding on the client's side: what the host may do with the agent of whoever runs the command."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass

from irosh.core.agent_protocol import (
    FAILURE,
    LENGTH_SIZE,
    LIST,
    AgentKey,
    is_harmless,
    message_length,
    parse_keys,
    signing_key,
)
from irosh.core.errors import ErrorCode, IroshError, system_message
from irosh.core.ssh_wire import SshWireError
from irosh.core.wording import escape
from irosh.node.questions import Questions
from irosh.transport.interfaces import ConnectionLost, SpliceCounters, Stream, StreamReset
from irosh.transport.sockets import connect_unix
from irosh.transport.tasks import TaskSet

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 64  # of one session at once
AGENT_DEADLINE = 300.0  # seconds: the agent may ask a person itself, or wait for a security key to be touched
REST_DEADLINE = 30.0  # seconds for the rest of a message that has begun


@dataclass(frozen=True)
class AgentOffer:
    """What a command offers to the host: the agent at ``path``. ``questions`` are asked before each use of a key.

    Without them the host may use the agent as it likes, which is what agent forwarding is in OpenSSH.
    """

    path: str
    host: str
    questions: Questions | None


async def check_agent(path: str) -> None:
    """``IroshError`` (not-running) when no agent answers there."""
    try:
        (await connect_unix(path)).close()
    except OSError as error:
        raise IroshError(
            ErrorCode.NOT_RUNNING,
            f"there is no ssh-agent at {path}: {system_message(error)}",
            "start one, or leave out -A",
        ) from None


class AgentRelay:
    """Carries what the host opens to the agent."""

    def __init__(self, offer: AgentOffer) -> None:
        self._offer = offer
        self._tasks = TaskSet()
        self._open = 0

    def serve(self, stream: Stream) -> None:
        """The host has opened ``stream``."""
        self._tasks.start(self._serve(stream))

    async def aclose(self) -> None:
        """End all."""
        await self._tasks.close()

    async def _serve(self, stream: Stream) -> None:
        if self._open >= MAX_CONNECTIONS:
            await stream.abort()
            return
        self._open += 1
        try:
            await self._carry(stream)
        except (OSError, EOFError, StreamReset, ConnectionLost, SshWireError, TimeoutError) as error:
            log.info("agent for %s: %s", self._offer.host, error)
        finally:
            self._open -= 1
            await stream.close()

    async def _carry(self, stream: Stream) -> None:
        if self._offer.questions is None:
            await stream.splice(await connect_unix(self._offer.path), SpliceCounters())
            return
        guard = _Guard(self._offer, self._offer.questions)
        with contextlib.closing(guard):
            while (request := await _next_request(stream)) is not None:
                await stream.write(await guard.answer(request))


class _Guard:
    """One connection to the agent, on which nothing is signed that the person did not agree to."""

    def __init__(self, offer: AgentOffer, questions: Questions) -> None:
        self._offer = offer
        self._questions = questions
        self._writer: asyncio.StreamWriter | None = None

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    async def answer(self, request: bytes) -> bytes:
        """The agent's answer to a request (without its length), or a refusal."""
        key = signing_key(request)
        if key is None:
            # Only looking is free; nobody far away adds keys to the agent, removes or locks them.
            return await self._pass_on(request) if is_harmless(request) else FAILURE
        return await self._pass_on(request) if await self._agreed(key) else FAILURE

    async def _agreed(self, blob: bytes) -> bool:
        keys = parse_keys((await self._pass_on(LIST[LENGTH_SIZE:]))[LENGTH_SIZE:])
        key = next((known for known in keys if known.blob == blob), AgentKey(blob, "unknown"))
        name = f"{key.fingerprint} ({escape(key.comment, 200)})"
        return await self._questions.confirm(f"Let {escape(self._offer.host, 100)} use your key {name}?")

    async def _pass_on(self, request: bytes) -> bytes:
        async with asyncio.timeout(AGENT_DEADLINE):
            if self._writer is None:
                self._reader, self._writer = await asyncio.open_unix_connection(self._offer.path)
            self._writer.write(len(request).to_bytes(LENGTH_SIZE, "big") + request)
            await self._writer.drain()
            prefix = await self._reader.readexactly(LENGTH_SIZE)
            return prefix + await self._reader.readexactly(message_length(prefix))


async def _next_request(stream: Stream) -> bytes | None:
    first = await stream.read(1)
    if not first:
        return None
    async with asyncio.timeout(REST_DEADLINE):
        length = message_length(first + await stream.read_exactly(LENGTH_SIZE - 1))
        return await stream.read_exactly(length)
