"""Commands and programs that take nothing of what they are sent: what is to end ends, and nobody waits for them."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
import termios
import time
from contextlib import suppress
from pathlib import Path

import pytest

from irosh.node import control
from irosh.node.control_client import ControlClient
from irosh.node.control_wire import Kind, pack
from tests.lab.processes import processes_with
from tests.support.attached import attached, stdio

STUCK = 0.3  # seconds for which nothing moves any more


def unread(command: ControlClient) -> int:
    """Bytes that the node has sent to ``command``, and that nobody has read."""
    return int(struct.unpack("i", fcntl.ioctl(command.socket, termios.FIONREAD, bytes(4)))[0])


async def fill(sock: socket.socket, data: bytes) -> None:
    """Send ``data`` again and again, until nobody takes it."""
    sock.setblocking(False)
    with suppress(TimeoutError):
        while True:
            async with asyncio.timeout(STUCK):
                await asyncio.get_running_loop().sock_sendall(sock, data)


async def begun(marker: str) -> None:
    while not processes_with(marker):
        await asyncio.sleep(0.02)


async def ended(marker: str) -> None:
    while processes_with(marker):
        await asyncio.sleep(0.02)


def test_a_program_that_reads_nothing_ends_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "LOOK", 0.02)
    marker = f"reads-nothing-{os.getpid()}"

    async def scenario() -> None:
        async with attached(tmp_path) as (host, node, command):
            command.request("connect", {"target": host.identity.id, "command": f"exec sh -c 'sleep 600' {marker}"})
            await begun(marker)
            await fill(command.socket, pack(Kind.STDIN, bytes(64 * 1024)))
            command.close()
            await ended(marker)
            await node.control.wait_unused()

    asyncio.run(scenario())


def test_a_node_ends_though_a_command_takes_nothing(tmp_path: Path) -> None:
    marker = f"takes-nothing-{os.getpid()}"

    async def scenario() -> None:
        async with attached(tmp_path) as (host, node, command):
            session: dict[str, object] = {
                "purpose": "attach",
                "name": "one",
                "create": True,
                "command": f"exec yes {marker}",
            }
            session |= {"size": [80, 24, 0, 0]}
            command.request("session.attach", {"target": host.identity.id, "session": session})
            await begun(marker)
            seen = -1
            while (waiting := unread(command)) != seen:
                seen = waiting
                await asyncio.sleep(STUCK)
            begin = time.monotonic()
            node.stop()
            await node.control.wait_unused()
            assert time.monotonic() - begin < 10

    asyncio.run(scenario())


def test_a_stream_ends_with_its_command_though_the_peer_neither_reads_nor_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "LOOK", 0.05)

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as deaf:
            async with attached(tmp_path) as (host, node, command):
                with await stdio(command, host, deaf.getsockname()[1]) as sock:
                    await fill(sock, bytes(64 * 1024))
                command.close()
                await node.control.wait_unused()

    asyncio.run(scenario())
