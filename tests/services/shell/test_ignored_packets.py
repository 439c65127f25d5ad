"""What the SSH library sends besides the messages: nothing."""

from __future__ import annotations

import asyncio
import logging

import asyncssh
import pytest

from irosh.core.identity import Identity
from irosh.services.shell.ignored_packets import send_no_ignored
from irosh.services.shell.login import log_in
from irosh.transport.asyncio_transport import StreamTunnel
from tests.support.memory_connection import MemoryLink
from tests.support.nodes import DEADLINE


class _Everybody(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False


def test_keys_are_one_message_each(caplog: pytest.LogCaptureFixture) -> None:
    async def echo(process: asyncssh.SSHServerProcess[bytes]) -> None:
        process.stdout.write(await process.stdin.read(3))
        process.exit(0)

    async def serve(tunnel: StreamTunnel, identity: Identity) -> asyncssh.SSHServerConnection:
        return await asyncssh.connect_reverse(
            "peer",
            tunnel=tunnel,
            config=None,
            server_factory=_Everybody,
            server_host_keys=[asyncssh.import_private_key(identity.openssh_private_key())],
            process_factory=echo,
            encoding=None,
            gss_host=None,
        )

    async def body() -> None:
        link = MemoryLink()
        identity = Identity.generate()
        near = await link.near.open_stream()
        await near.write(b"!")
        far = await link.far.accept_stream()
        assert await far.read(1) == b"!"
        tunnel = StreamTunnel(far)
        serving = asyncio.create_task(serve(tunnel, identity))
        link_to_it = await log_in(Identity.generate(), near, identity.id, "root")
        send_no_ignored(await serving)
        caplog.clear()
        done = await link_to_it.connection.run("x", input=b"abc", encoding=None)
        assert done.stdout == b"abc"
        sent = [record.getMessage() for record in caplog.records if "Sent MSG" in record.getMessage()]
        assert any("MSG_CHANNEL_DATA" in text for text in sent)
        assert not any("MSG_IGNORE" in text for text in sent)
        await link_to_it.aclose()
        await tunnel.aclose()

    asyncssh.set_debug_level(3)
    try:
        with caplog.at_level(logging.DEBUG, logger="asyncssh"):
            asyncio.run(asyncio.wait_for(body(), DEADLINE))
    finally:
        asyncssh.set_debug_level(1)
