"""What costs the host much, by places: how many at once, and that all ways to it are counted."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from irosh import assembly
from irosh.core.errors import ErrorCode, IroshError
from irosh.node.places import Places
from irosh.services.files.transfer.messages import FilesRequest
from irosh.services.shell import service as shell_service
from irosh.services.shell.messages import ShellRequest
from irosh.services.tunnel import service as tunnel_service
from irosh.services.tunnel.messages import TunnelRequest
from irosh.services.vpn import service as vpn_service
from irosh.services.vpn.messages import VpnRequest
from tests.support.admitted import admitted, ask, refusal


def test_each_peer_has_so_many_places() -> None:
    places = Places(2, "things")
    with ExitStack() as stack:
        stack.enter_context(places.place("one"))
        with places.place("one"), places.place("other"), pytest.raises(IroshError) as caught, places.place("one"):
            pass
        assert caught.value.code == ErrorCode.BUSY and caught.value.message == "you have 2 things, which is the most"
        with places.place("one"):
            pass
    with places.place("one"), places.place("one"):
        pass


def test_transfers_have_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a process: without a limit a peer that may only read would fill the host with them."""
    monkeypatch.setattr(assembly, "MAX_PROGRAMS", 2)

    async def scenario() -> None:
        async with admitted(tmp_path, [f"files:{tmp_path}:ro"]) as (_, connection, _):
            streams = [await ask(connection, "files", FilesRequest()) for _ in range(2)]
            assert [error for _, error in streams] == [None, None]
            assert await refusal(connection, "files", FilesRequest()) is ErrorCode.BUSY
            for stream, _ in streams:
                await stream.finish()
                while await stream.read(1024):
                    pass
            while (await ask(connection, "files", FilesRequest()))[1] is not None:
                pass  # until the host has seen the processes end

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("module", "most", "capability", "service", "request_"),
    [
        (tunnel_service, "MAX_TUNNELS", "forward:tcp://127.0.0.1:9", "tunnel", TunnelRequest("tcp://127.0.0.1:9")),
        (shell_service, "MAX_CONNECTIONS", "exec", "shell", ShellRequest()),
        (vpn_service, "MAX_OF_ONE", "vpn:10.0.0.0/8", "vpn", VpnRequest(2)),
    ],
)
def test_so_have(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    most: str,
    capability: str,
    service: str,
    request_: msgspec.Struct,
) -> None:
    monkeypatch.setattr(module, most, 0)

    async def scenario() -> None:
        async with admitted(tmp_path, [capability]) as (_, connection, _):
            assert await refusal(connection, service, request_) is ErrorCode.BUSY

    asyncio.run(scenario())
