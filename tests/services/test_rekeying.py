"""New keys for an SSH connection: both ends are real, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import asyncssh
import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.shell import rekeying
from irosh.services.shell.rekeying import rekey


class _Anybody(asyncssh.SSHServer):
    def __init__(self, made: asyncio.Future[Any]) -> None:
        self._made = made

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._made.set_result(conn)

    def begin_auth(self, username: str) -> bool:
        return False


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Any, Any]]:
    """A client's connection, and the server's end of it."""
    made = asyncio.get_running_loop().create_future()
    key = asyncssh.generate_private_key("ssh-ed25519")
    listener = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=lambda: _Anybody(made), server_host_keys=[key], gss_host=None
    )
    client = await asyncssh.connect(
        "127.0.0.1", listener.get_port(), config=None, known_hosts=None, username="x", client_keys=None, gss_host=None
    )
    server = await made
    try:
        yield client, server
    finally:
        client.abort()
        server.abort()
        listener.close()
        await asyncio.gather(client.wait_closed(), server.wait_closed(), listener.wait_closed())


def test_both_ends_have_new_keys() -> None:
    async def scenario() -> None:
        async with connected() as (client, server):
            before = client._send_encryption, server._recv_encryption
            await rekey(client)
            assert client._send_encryption is not before[0]
            assert server._recv_encryption is not before[1]

    asyncio.run(scenario())


def test_a_peer_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rekeying, "DEADLINE", 0.2)

    async def scenario() -> None:
        async with connected() as (client, server):
            server._transport.pause_reading()
            await rekey(client)

    assert _failure(scenario()).code is ErrorCode.TIMEOUT


def test_a_connection_that_ends_meanwhile() -> None:
    async def scenario() -> None:
        async with connected() as (client, server):
            server.abort()
            await rekey(client)

    assert _failure(scenario()).code is ErrorCode.CONNECTION_LOST


@pytest.mark.parametrize(
    "connection",
    [
        SimpleNamespace(_rekey_bytes=1, _kex_complete=True),
        SimpleNamespace(_rekey_bytes=1, _rekey_bytes_sent=0, _kex_complete=True, send_debug=str),
    ],
    ids=["counts otherwise", "begins by something else"],
)
def test_a_library_that_is_made_otherwise(connection: object) -> None:
    error = _failure(rekey(connection))
    assert error.code is ErrorCode.INTERNAL
    assert "AsyncSSH" in error.message


def _failure(work: Coroutine[Any, Any, None]) -> IroshError:
    with pytest.raises(IroshError) as failure:
        asyncio.run(work)
    return failure.value
