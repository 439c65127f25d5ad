"""The socket of a session whose account is not the host's own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from irosh.node.accounts import Account
from irosh.services.shell.agent_socket import AgentSocket
from irosh.services.shell.channel_stream import ChannelStream
from irosh.transport.interfaces import Stream

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")

NOBODY, DAEMON = 65_534, 1
ACCOUNT = Account("nobody", NOBODY, NOBODY, (), "/", "/bin/sh", switch=True)
_CONNECT = """
import os, socket, sys
os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
sock = socket.socket(socket.AF_UNIX)
sock.settimeout(20)
sock.connect(sys.argv[2])
print(sock.recv(10))
"""


async def connect(uid: int, path: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", _CONNECT, str(uid), path]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=30, check=False)


def test_the_account_reaches_it_and_nobody_else() -> None:
    asyncio.run(_reached())


async def _reached() -> None:
    opened = 0

    async def refuse() -> Stream:
        nonlocal opened
        opened += 1
        raise ConnectionRefusedError("there is no agent")

    listener = AgentSocket(ACCOUNT)
    directory = Path(listener.path).parent
    assert (directory.stat().st_uid, directory.stat().st_mode & 0o777) == (NOBODY, 0o700)
    assert (os.stat(listener.path).st_uid, os.stat(listener.path).st_mode & 0o777) == (NOBODY, 0o600)
    serving = asyncio.create_task(listener.serve(refuse))
    try:
        done = await connect(NOBODY, listener.path)
        assert (done.returncode, done.stdout, opened) == (0, b"b''\n", 1), done.stderr
        assert b"PermissionError" in (await connect(DAEMON, listener.path)).stderr
        # Even with the doors open the kernel says who comes.
        directory.chmod(0o755)
        os.chmod(listener.path, 0o666)
        await connect(DAEMON, listener.path)
        assert opened == 1
    finally:
        serving.cancel()
        listener.close()
        await asyncio.gather(serving, return_exceptions=True)
    assert not directory.exists()


def test_an_account_that_swaps_its_directory_has_nothing_else_removed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "agent").write_text("precious")
    listener = AgentSocket(ACCOUNT)
    directory = Path(listener.path).parent
    moved = directory.with_name(f"{directory.name}-moved")
    directory.rename(moved)
    directory.symlink_to(victim)
    try:
        listener.close()
        assert (victim / "agent").read_text() == "precious"
        assert list(moved.iterdir()) == []
    finally:
        directory.unlink()
        moved.rmdir()


def test_a_channel_that_was_never_opened_does_not_hold_up_its_end() -> None:
    async def ended() -> None:
        stream = ChannelStream()
        stream.connection_lost(None)
        assert await stream.read() == b""

    asyncio.run(ended())
