"""Connections whose packets are carried by a byte stream: QUIC end to end, through machines that pass the stream on.

Those see what anybody on the way sees. Each connection has an endpoint of its own, which has no other way.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.transport.interfaces import Connection, ConnectionLost, Route, Stream
from irosh.transport.packet_pipe import LOOPBACK, PacketPipe
from irosh.transport.tasks import TaskSet, to_the_end
from irosh.transport.wheel import EndpointSettings, WheelConnection, WheelEndpoint, bind_endpoint

log = logging.getLogger(__name__)

HANDSHAKE_DEADLINE = 10.0


@dataclass(frozen=True)
class Carriage:
    """A stream that leads to a node, or comes from one.

    ``via``: how its way is shown. ``depth``: how many links of ours carry it, one through the other. ``broken``: why it
    has ended. ``release``: ends what the stream needs, once nothing is carried any more.
    """

    stream: Stream
    via: str
    depth: int
    broken: Callable[[], IroshError]
    release: Callable[[], Awaitable[None]]


class Carried:
    """``connection`` and what carries it, until either has ended."""

    def __init__(self, connection: WheelConnection, over: asyncio.Task[None]) -> None:
        self.connection: Connection = connection
        self._over = over

    async def wait_over(self) -> None:
        """Until nothing of it is left. Who is cancelled meanwhile leaves it as it is."""
        await asyncio.wait((self._over,))


Meet = Callable[[WheelEndpoint, PacketPipe], Awaitable[WheelConnection]]


class CarriedConnections:
    """All of one identity. ``secret``: the identity's."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._tasks: defaultdict[int, TaskSet] = defaultdict(TaskSet)  # by depth

    async def dial(self, carriage: Carriage, peer_id: str) -> Carried:
        """Connect to the node ``peer_id`` at the other end, which accepts. ``carriage`` is used up in any case.

        ``IroshError``: identity-mismatch, unreachable, timeout; why the stream broke.
        """

        async def meet(endpoint: WheelEndpoint, pipe: PacketPipe) -> WheelConnection:
            host, port = pipe.source
            return await endpoint.connect(Route(peer_id, (), (f"{host}:{port}",)))

        return await self._begin(carriage, meet, accepts=False)

    async def accept(self, carriage: Carriage) -> Carried:
        """As the other side. Who connects is proven by the connection's ``peer_id``."""

        async def meet(endpoint: WheelEndpoint, _pipe: PacketPipe) -> WheelConnection:
            connection = await endpoint.accept()
            if connection is None:
                raise IroshError(ErrorCode.UNREACHABLE, "the endpoint was closed")
            endpoint.accept_no_more()
            return connection

        return await self._begin(carriage, meet, accepts=True)

    async def close(self, depth: int) -> None:
        """End all of ``depth``. Their peers hear what they were closed with before, if anything."""
        await self._tasks[depth].close()

    def depths(self) -> list[int]:
        """Of those there may be, the deepest first."""
        return sorted(self._tasks, reverse=True)

    async def _begin(self, carriage: Carriage, meet: Meet, *, accepts: bool) -> Carried:
        met: asyncio.Future[WheelConnection] = asyncio.get_running_loop().create_future()
        task = self._tasks[carriage.depth].start(self._run(carriage, meet, met, accepts=accepts))
        try:
            return Carried(await met, task)
        except BaseException:
            await to_the_end(_given_up(task, carriage))
            raise

    async def _run(
        self, carriage: Carriage, meet: Meet, met: asyncio.Future[WheelConnection], *, accepts: bool
    ) -> None:
        try:
            async with AsyncExitStack() as stack:
                stack.push_async_callback(carriage.release)
                stack.push_async_callback(carriage.stream.close)
                pipe = stack.enter_context(PacketPipe())
                settings = EndpointSettings(self._secret, bind=LOOPBACK, relays=(), accepts=accepts)
                endpoint = await bind_endpoint(settings)
                endpoint.hear_only(pipe.source)
                pipe.join(_ipv4(endpoint))
                carrying = asyncio.create_task(_carry(pipe, carriage))
                stack.push_async_callback(_cancelled, carrying)
                stack.push_async_callback(endpoint.close)  # while its farewell is still carried
                connection = await self._meet(meet(endpoint, pipe), carrying)
                connection.via = carriage.via
                met.set_result(connection)
                await _until_over(connection, carrying)
        except Exception as error:
            if met.done():
                raise
            met.set_exception(error)
        finally:
            met.cancel()

    async def _meet(self, meeting: Awaitable[WheelConnection], carrying: asyncio.Task[IroshError]) -> WheelConnection:
        met = asyncio.ensure_future(meeting)
        try:
            done, _ = await asyncio.wait(
                (met, carrying), timeout=HANDSHAKE_DEADLINE, return_when=asyncio.FIRST_COMPLETED
            )
            if met in done:
                return met.result()
            raise carrying.result() if done else IroshError(ErrorCode.TIMEOUT, "no answer from there")
        finally:
            await _cancelled(met)


async def _carry(pipe: PacketPipe, carriage: Carriage) -> IroshError:
    """Until the stream ends or breaks; returns why."""
    try:
        await pipe.carry(carriage.stream)
    except IroshError as error:
        log.info("%s: %s", carriage.via, error)
        return error
    return carriage.broken()


async def _until_over(connection: WheelConnection, carrying: asyncio.Task[IroshError]) -> None:
    closed = asyncio.ensure_future(connection.wait_closed())
    try:
        await asyncio.wait((closed, carrying), return_when=asyncio.FIRST_COMPLETED)
        if not closed.done():
            error = carrying.result()
            connection.broke(ConnectionLost(error.code, error.message, error.hint))
    finally:
        connection.close(moved=True)  # nothing, if it is closed
        await _cancelled(closed)


async def _given_up(task: asyncio.Task[None], carriage: Carriage) -> None:
    await _cancelled(task)
    # It may have been cancelled before it began.
    await carriage.stream.abort()
    await carriage.release()


async def _cancelled(task: asyncio.Future[Any]) -> None:
    task.cancel()
    await _ended(task)


async def _ended(task: asyncio.Future[Any]) -> None:
    await asyncio.gather(task, return_exceptions=True)


def _ipv4(endpoint: WheelEndpoint) -> tuple[str, int]:
    address = next(address for address in endpoint.bound() if not address.startswith("["))
    host, _, port = address.rpartition(":")
    return host, int(port)
