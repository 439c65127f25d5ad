"""``irosh relay serve``."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import urllib.request
from collections.abc import Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from irosh.transport.relay import RelayServer
from irosh.transport.relay.frames import Restarting, ServerConfirmsAuth, ServerDeniesAuth
from tests.lab.irosh_process import Irosh, IroshProcess
from tests.lab.machine import LOCAL
from tests.lab.pair import pinned_pair
from tests.lab.processes import wait_until
from tests.support.relay_client import ALICE, BOB, Client, connected, joined
from tests.support.tls_certificate import self_signed

ANYWHERE = ("relay", "serve", "--listen", "127.0.0.1:0")


@pytest.fixture
def irosh(tmp_path: Path) -> Irosh:
    return Irosh(LOCAL, tmp_path / "state")


def at(url: str) -> RelayServer:
    """What the relay client needs to know of a relay in another process."""
    return cast("RelayServer", SimpleNamespace(url=url))


def admits(url: str, token: str = "") -> bool:
    """Whether the relay serves a client that brings ``token``."""

    async def body() -> bool:
        async with connected(at(url), token=token) as client:
            first = await client.receive()
            return not isinstance(first, ServerDeniesAuth)

    return asyncio.run(body())


def get(url: str, context: ssl.SSLContext | None = None) -> bytes:
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), *([urllib.request.HTTPSHandler(context=context)] if context else [])
    )
    with opener.open(url, timeout=30) as response:
        body: bytes = response.read()
        return body


def run(body: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await body

    asyncio.run(limited())


def test_it_says_where_it_listens_and_serves(irosh: Irosh) -> None:
    with irosh.start(*ANYWHERE) as process:
        ready = process.wait_event("ready")
        port = int(ready["url"].rpartition(":")[2])
        assert ready["url"] == f"http://127.0.0.1:{port}"
        assert ready["listen"] == [f"127.0.0.1:{port}"]
        assert (ready["tls"], ready["needs_token"], ready["allowed"]) == (False, False, [])
        assert get(f"{ready['url']}/healthz")
        assert b"irosh_relay" in get(f"{ready['url']}/metrics")
        assert process.stop() == 0
        assert [event["event"] for event in process.events] == ["ready", "stopping", "stopped"]


def test_text_for_people(irosh: Irosh) -> None:
    process = LOCAL.popen(*irosh.command, *ANYWHERE, stderr=-1)
    assert process.stderr is not None
    with process.stderr as lines:
        first = lines.readline().decode()
        process.terminate()
        rest = lines.read().decode()
    assert process.wait(30) == 0
    assert "serves everybody who can reach it" in first
    assert "irosh host --relay http://127.0.0.1:" in rest
    assert rest.splitlines()[-1] == "irosh: stopped"


def test_machines_meet_through_it(irosh: Irosh, tmp_path: Path) -> None:
    with irosh.start(*ANYWHERE) as process:
        url = process.wait_event("ready")["url"]
        with pinned_pair(tmp_path, "--relay", url, relays=[url]) as pair:
            assert pair.host.call("status")["relays"] == [url]
            assert pair.client.run("connect", "box", "echo there").stdout == b"there\n"
            wait_until(lambda: b"irosh_relay_clients 1" in get(f"{url}/metrics"), what="the host is a client")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_tells_its_clients_that_it_restarts(irosh: Irosh, number: signal.Signals) -> None:
    async def until_told(process: IroshProcess, client: Client) -> None:
        process.process.send_signal(number)
        assert isinstance(await client.receive(), Restarting)
        code, _ = await client.closed()
        assert code == 1012

    async def body(process: IroshProcess, url: str) -> None:
        async with joined(at(url), ALICE) as client:
            await until_told(process, client)

    with irosh.start(*ANYWHERE) as process:
        run(body(process, process.wait_event("ready")["url"]))
        assert process.wait_exit() == 0


@pytest.mark.parametrize("way", ["option", "environment", "file", "file and environment"])
def test_tokens(irosh: Irosh, tmp_path: Path, way: str) -> None:
    token_file = tmp_path / "tokens"
    token_file.write_text("# whom this relay serves\n\nfrom-file \nfrom-file-too\n")
    token_file.chmod(0o600)
    options: list[str] = []
    valid: set[str] = set()
    if "environment" in way:
        irosh.environment["IROSH_RELAY_TOKEN"] = "from-environment"
        valid.add("from-environment")
    if "file" in way:
        options += ["--token-file", str(token_file)]
        valid |= {"from-file", "from-file-too"}
    if way == "option":
        options += ["--token", "from-option"]
        valid.add("from-option")
    with irosh.start(*ANYWHERE, *options) as process:
        ready = process.wait_event("ready")
        assert ready["needs_token"] is True
        assert all(admits(ready["url"], token) for token in valid)
        for token in {"", "wrong", "from-option", "from-environment", "from-file", "# whom this relay serves"} - valid:
            assert not admits(ready["url"], token), token
        assert not any(token in process.report() for token in valid - {"from-option"})


def test_endpoint_ids_to_serve(irosh: Irosh) -> None:
    async def body(url: str) -> None:
        async with joined(at(url), ALICE):
            pass
        async with connected(at(url)) as client:
            assert await client.authenticate(BOB) != ServerConfirmsAuth()

    with irosh.start(*ANYWHERE, "--allow", ALICE.id) as process:
        ready = process.wait_event("ready")
        assert ready["allowed"] == [ALICE.id]
        run(body(ready["url"]))


def test_tls(irosh: Irosh, tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    with irosh.start(*ANYWHERE, "--tls-cert", str(certificate), "--tls-key", str(key)) as process:
        ready = process.wait_event("ready")
        assert ready["tls"] is True
        assert ready["url"].startswith("https://127.0.0.1:")
        assert get(f"{ready['url']}/healthz", ssl.create_default_context(cafile=str(certificate)))


def test_a_port_that_is_taken(irosh: Irosh) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = irosh.failure("relay", "serve", "--listen", f"127.0.0.1:{port}")
    assert error["code"] == "port-taken"
    assert str(port) in error["message"]
    assert error["hint"]


def test_an_address_that_is_not_ours(irosh: Irosh) -> None:
    assert irosh.failure("relay", "serve", "--listen", "192.0.2.1:0")["code"] == "bind-failed"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--listen", "127.0.0.1"), "invalid-address"),
        (("--listen", "127.0.0.1:http"), "invalid-address"),
        (("--listen", "::1:3340"), "invalid-address"),
        (("--allow", "abc"), "unknown-target"),
        (("--token", "two\nlines"), "invalid-config"),
        (("--token-file", "/nonexistent/file"), "invalid-config"),
        (("--token-file", "/dev/null"), "invalid-config"),
        (("--tls-key", "/dev/null"), "invalid-config"),
        (("--tls-cert", "/nonexistent/file"), "invalid-config"),
        (("--tls-cert", "/dev/null"), "invalid-config"),
    ],
)
def test_mistakes(irosh: Irosh, arguments: tuple[str, ...], code: str) -> None:
    assert irosh.failure(*ANYWHERE, *arguments)["code"] == code


def test_a_token_file_that_others_may_read_is_refused(irosh: Irosh, tmp_path: Path) -> None:
    token_file = tmp_path / "tokens"
    token_file.write_text("secret")
    token_file.chmod(0o644)
    error = irosh.failure(*ANYWHERE, "--token-file", str(token_file))
    assert error["code"] == "invalid-config"
    assert error["hint"] == f"run: chmod 600 {token_file}"
    assert "secret" not in str(error)
