"""``irosh nostr``."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from irosh.core.nostr_key import parse_npub
from tests.lab.irosh_process import Irosh
from tests.lab.machine import LOCAL

NSEC_HEX = "67dea2ed018072d675f5415ecfaed7d2597555e202d85b3d65ea4e58d2d92ffa"


@pytest.fixture
def irosh(tmp_path: Path) -> Irosh:
    return Irosh(LOCAL, tmp_path / "state")


async def _subscribed(url: str) -> str:
    async with asyncio.timeout(30), connect(url, proxy=None) as websocket:
        await websocket.send('["REQ","s",{"kinds":[1]}]')
        return str(await websocket.recv())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_relay_serves_until_it_is_told_to_end(irosh: Irosh, number: signal.Signals) -> None:
    with irosh.start("nostr", "relay", "--listen", "127.0.0.1:0") as process:
        url = process.wait_event("ready")["url"]
        assert url.startswith("ws://127.0.0.1:")
        assert json.loads(asyncio.run(_subscribed(url))) == ["EOSE", "s"]
        process.process.send_signal(number)
        assert process.wait_exit() == 0
        assert [event["event"] for event in process.events] == ["ready", "stopped"]


def test_a_port_that_is_taken(irosh: Irosh) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        error = irosh.failure("nostr", "relay", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert error["code"] == "port-taken"


@pytest.mark.parametrize("listen", ["localhost:0", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000"])
def test_addresses_that_cannot_be(irosh: Irosh, listen: str) -> None:
    assert irosh.failure("nostr", "relay", "--listen", listen)["code"] == "invalid-address"


def test_the_key_is_always_the_same(irosh: Irosh) -> None:
    shown = irosh.call("nostr", "key")
    assert parse_npub(shown["npub"]).hex() == shown["public_key"]
    assert irosh.run("nostr", "key").stdout.decode().strip() == shown["npub"]


def test_a_key_of_ones_own(irosh: Irosh, tmp_path: Path) -> None:
    file = tmp_path / "nsec"
    file.write_text(NSEC_HEX)
    file.chmod(0o644)
    error = irosh.failure("nostr", "key", "--nsec-file", str(file))
    assert error["code"] == "key-unsafe"
    assert NSEC_HEX not in str(error)
    file.chmod(0o600)
    shown = irosh.call("nostr", "key", "--nsec-file", str(file))
    assert shown["public_key"] == "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e"
