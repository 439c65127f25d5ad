"""A client of the host's SSH that opens, asks and sets without end: each has a bound, and what is within it works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh.channel import SSHChannel

from irosh.node.accounts import accepted_environment
from irosh.services.shell import listening, server, ssh_limits
from irosh.services.shell.login import log_in
from irosh.services.shell.messages import ShellRequest
from tests.support.nodes import linked_nodes


@asynccontextmanager
async def logged_in(directory: Path, *capabilities: str) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A foreign client's connection to the SSH of a host."""
    async with linked_nodes(directory, capabilities) as (host, client, destination):
        opened = await (await client.links.get(destination)).open("shell", ShellRequest())
        await opened.answer()
        link = await log_in(client.identity, opened.stream, host.identity.id, "-")
        try:
            yield link.connection
        finally:
            await link.aclose()


async def opened_session(connection: asyncssh.SSHClientConnection) -> SSHChannel[bytes]:
    """A session channel on which nothing is asked for."""
    chan: SSHChannel[bytes] = SSHChannel(connection, asyncio.get_running_loop(), None, "strict", 65536, 32768)
    await chan._open(b"session")
    return chan


async def said(connection: asyncssh.SSHClientConnection, command: str) -> object:
    """What a command says, once the host has seen that what was there before it has ended."""
    while True:
        with suppress(asyncssh.ChannelOpenError):
            return (await connection.run(command)).stdout
        await asyncio.sleep(0.01)


def test_sessions_that_begin_nothing_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_SESSIONS", 3)

    async def scenario() -> None:
        async with logged_in(tmp_path, "exec") as connection:
            opened = [await opened_session(connection) for _ in range(3)]
            with pytest.raises(asyncssh.ChannelOpenError):
                await opened_session(connection)
            opened.pop().abort()
            assert await said(connection, "echo again") == "again\n"
            assert await said(connection, "echo and again") == "and again\n"

    asyncio.run(scenario())


def test_channels_of_all_kinds_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh_limits, "MAX_CHANNELS", 3)

    async def scenario() -> None:
        listener = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        async with listener, logged_in(tmp_path, "exec", f"forward:tcp://127.0.0.1:{port}") as connection:
            for _ in range(3):
                _, writer = await connection.open_connection("127.0.0.1", port)
            with pytest.raises(asyncssh.ChannelOpenError) as refused:
                await connection.open_connection("127.0.0.1", port)
            assert refused.value.code == asyncssh.OPEN_RESOURCE_SHORTAGE
            writer.close()
            assert await said(connection, "echo again") == "again\n"

    asyncio.run(scenario())


def test_requests_that_wait_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh_limits, "MAX_REQUESTS", 5)

    async def ask(connection: asyncssh.SSHClientConnection) -> None:
        await connection.forward_remote_port("127.0.0.1", 0, "x", 1)

    async def stuck(_specs: object, *, follow_links: bool) -> Any:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(listening, "bind_all", stuck)  # as a name that takes its time

    async def scenario() -> None:
        async with logged_in(tmp_path, "exec", "listen:tcp://127.0.0.1:*") as connection:
            asked = [asyncio.create_task(ask(connection)) for _ in range(5)]
            assert (await connection.run("echo good")).stdout == "good\n"
            asked.append(asyncio.create_task(ask(connection)))
            await connection.wait_closed()
            ends = await asyncio.gather(*asked, return_exceptions=True)
            assert all(isinstance(end, BaseException) for end in ends)

    asyncio.run(scenario())


def test_the_environment_is_bounded(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with logged_in(tmp_path, "exec") as connection:
            many = {f"LC_{number}": "x" for number in range(1000)}
            evil = {"TZDIR": "/x", "LC_A=B": "x", "LC_\n": "x", "LD_PRELOAD": "x", "LC_LONG": "x" * 2000, "LC_0\0": ""}
            ran = await connection.run("env", env={**evil, **many})
            shown = {line for line in str(ran.stdout).splitlines() if line.startswith(("LC_", "TZ", "LD_"))}
            assert len(shown) == ssh_limits.MAX_VARIABLES
            assert shown < {f"{name}=x" for name in many}

    asyncio.run(scenario())


def test_variables_are_accepted_by_their_whole_name() -> None:
    good = {"LANG": "C", "LANGUAGE": "de", "LC_ALL": "C.UTF-8", "COLORTERM": "truecolor", "TZ": "UTC"}
    bad = {"LANGX": "", "TZDIR": "", "LC_": "", "LC_A=B": "", "LC_A\n": "", "COLORTERM2": "", "LC_É": "", "PATH": "/x"}
    assert accepted_environment({**good, **bad}) == good
