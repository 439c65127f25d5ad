"""A session's process ends with its peer, in whatever order the peer's channel and connection are found lost."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import nullcontext
from typing import Any

import pytest

from irosh.node.accounts import DEFAULT_USER, find_account
from irosh.node.actions import Grant, Immediate
from irosh.services.files.subsystems import FileSubsystems
from irosh.services.shell.server_session import ServerSession
from irosh.services.shell.ssh_context import SSHContext
from tests.lab.processes import processes_with

STEPS = range(16)  # of the event loop, between one loss and the other; cleaning up takes fewer
DEADLINE = 30.0


class SilentChannel:
    """The server's end of a channel; knows when the process has begun to speak."""

    def __init__(self) -> None:
        self.written = asyncio.Event()

    def get_environment(self) -> dict[str, str]:
        return {}

    def write(self, data: bytes, datatype: int | None = None) -> None:
        self.written.set()

    def exit(self, status: int) -> None:
        pass

    def exit_with_signal(self, name: str) -> None:
        pass


@pytest.mark.parametrize("steps", STEPS)
def test_both_losses_at_almost_the_same_time(steps: int) -> None:
    asyncio.run(_lose_channel_then_connection(steps, f"session-end-{os.getpid()}-{steps}"))


async def _lose_channel_then_connection(steps: int, marker: str) -> None:
    channel: Any = SilentChannel()
    sessions: list[ServerSession] = []

    async def serve_connection() -> None:
        async with asyncio.TaskGroup() as group:
            session = ServerSession(_context(group), find_account(DEFAULT_USER))
            sessions.append(session)
            session.connection_made(channel)
            assert session.exec_requested(f"echo begun; exec sh -c 'sleep 600' {marker}")
            session.session_started()
            await asyncio.get_running_loop().create_future()

    connection = asyncio.create_task(serve_connection())
    async with asyncio.timeout(DEADLINE):
        await channel.written.wait()
        while not processes_with(marker):
            await asyncio.sleep(0.01)
        sessions[0].connection_lost(None)
        for _ in range(steps):
            await asyncio.sleep(0)
        connection.cancel()
        await asyncio.wait((connection,))
    left = processes_with(marker)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def _context(group: asyncio.TaskGroup) -> SSHContext:

    def allow(action: Immediate) -> Grant:
        return Grant(action)

    async def authorize(action: Any) -> Grant:
        return Grant(action)

    return SSHContext(
        petname="peer",
        authorize=authorize,
        authorize_now=allow,
        group=group,
        transport=lambda: None,
        environment={},
        permits=lambda action: True,
        subsystems=FileSubsystems(),
        program_place=nullcontext,
    )
