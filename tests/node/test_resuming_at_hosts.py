"""A node goes on with its sessions at a host that drops, refuses or lies: it neither hurries nor believes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.wire import PROTOCOL_VERSION, Hello, Welcome
from irosh.node.destination import Destination
from irosh.rendezvous.interfaces import Contact
from irosh.services.tunnel.messages import TunnelRequest
from irosh.transport.framing import read_frame, write_frame
from irosh.transport.interfaces import StreamReset
from irosh.transport.session.frames import StartKind, StreamResumed, StreamStart
from irosh.transport.wheel import WheelEndpoint
from tests.support.nodes import DEADLINE, bare_endpoint
from tests.support.peer_by_hand import MiB, Visit, host


@asynccontextmanager
async def foreign_host(taken: list[Hello], after: Callable[[Visit, Hello], None]) -> AsyncIterator[WheelEndpoint]:
    """A host that welcomes whoever comes, and then does with it what ``after`` says."""
    async with bare_endpoint() as endpoint:
        visits: list[Visit] = []

        async def serve() -> None:
            while (connection := await endpoint.accept()) is not None:
                visit = Visit(connection, await connection.accept_stream())
                visits.append(visit)
                hello = await read_frame(visit.control, Hello, deadline=DEADLINE)
                taken.append(hello)
                await write_frame(visit.control, Welcome(PROTOCOL_VERSION, "foreign", "user", b"s", b"t", 600.0, MiB))
                after(visit, hello)

        serving = asyncio.create_task(serve())
        try:
            yield endpoint
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


def destination(endpoint: WheelEndpoint) -> Destination:
    route = endpoint.route()
    return Destination(Contact(route.endpoint_id, addresses=route.addresses))


def test_a_host_that_drops_every_connection_is_not_dialled_without_pause(tmp_path: Path) -> None:
    def drop(visit: Visit, _hello: Hello) -> None:
        asyncio.get_running_loop().call_later(0.1, lambda: visit.connection.close(moved=True))

    async def body() -> None:
        taken: list[Hello] = []
        async with asyncio.timeout(DEADLINE), foreign_host(taken, drop) as endpoint, host(tmp_path) as node:
            peer = await node.links.get(destination(endpoint))
            while len(taken) < 2:
                await asyncio.sleep(0.01)
            await asyncio.sleep(2)  # what would be dozens of dials
            assert 2 <= len(taken) <= 6
            assert [hello.resume is None for hello in taken[:2]] == [True, False]
            assert not peer.session.is_closed

    asyncio.run(body())


@pytest.mark.parametrize("code", [ErrorCode.SESSION_UNKNOWN, ErrorCode.REVOKED])
def test_a_host_that_refuses_to_go_on_ends_the_session_for_that_reason(tmp_path: Path, code: ErrorCode) -> None:
    def once(visit: Visit, hello: Hello) -> None:
        if hello.resume is None:
            asyncio.get_running_loop().call_later(0.1, lambda: visit.connection.close(moved=True))
        else:
            visit.connection.close(IroshError(code, "no"))

    async def body() -> None:
        async with asyncio.timeout(DEADLINE), foreign_host([], once) as endpoint, host(tmp_path) as node:
            peer = await node.links.get(destination(endpoint))
            assert (await peer.session.wait_closed()).code is code

    asyncio.run(body())


def test_what_a_host_claims_falsely_ends_its_session_and_not_the_node(tmp_path: Path) -> None:
    def lie(visit: Visit, hello: Hello) -> None:
        if hello.resume is None:
            asyncio.get_running_loop().call_later(0.2, lambda: visit.connection.close(moved=True))
        else:
            lies.append(asyncio.create_task(claim_too_much(visit)))

    async def claim_too_much(visit: Visit) -> None:
        stream = await visit.connection.accept_stream()
        await stream.read_exactly(len(StreamStart(StartKind.RESUMED, 0).pack()))
        await stream.write(StreamResumed(True, 1 << 40).pack())

    lies: list[asyncio.Task[None]] = []

    async def body() -> None:
        async with asyncio.timeout(DEADLINE), foreign_host([], lie) as endpoint, host(tmp_path) as node:
            peer = await node.links.get(destination(endpoint))
            opened = await peer.open("tunnel", TunnelRequest("tcp://127.0.0.1:1"))
            with pytest.raises((IroshError, StreamReset)):
                await opened.answer()
            await asyncio.gather(*lies)
            async with foreign_host([], lambda _visit, _hello: None) as another:
                await node.links.get(destination(another))

    asyncio.run(body())
