"""Mode nostr as a person uses it: by ticket, by petname, by npub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.irosh_process import Irosh, IroshProcess
from tests.lab.machine import LOCAL

# The machine of the tests may have no way to the public servers.
ALONE = ("--no-relay", "--no-stun")


@pytest.fixture
def nostr(tmp_path: Path) -> Iterator[str]:
    """The URL of a Nostr relay."""
    with Irosh(LOCAL, tmp_path / "relay").start("nostr", "relay", "--listen", "127.0.0.1:0") as process:
        yield str(process.wait_event("ready")["url"])


@contextmanager
def hosting(irosh: Irosh, nostr: str, *options: str) -> Iterator[tuple[IroshProcess, dict[str, Any]]]:
    with irosh.start("host", "--mode", "nostr", "--nostr-relay", nostr, *ALONE, *options) as process:
        yield process, process.wait_event("ready")


def node(directory: Path, name: str) -> Irosh:
    return Irosh(LOCAL, directory / name)


def said(irosh: Irosh, *arguments: str) -> bytes:
    done = irosh.run("connect", *ALONE, *arguments)
    assert done.returncode == 0, done
    return done.stdout


def test_a_ticket_then_the_petname(tmp_path: Path, nostr: str) -> None:
    host, client = node(tmp_path, "host"), node(tmp_path, "client")
    with hosting(host, nostr) as (_, ready):
        assert ready["npub"] == host.call("nostr", "key")["npub"]
        assert said(client, "--name", "box", ready["ticket"], "echo one") == b"one\n"
        assert said(client, "box", "echo two") == b"two\n"
    # What was learnt is enough after the host's restart.
    with hosting(host, nostr):
        assert said(client, "box", "echo three") == b"three\n"


def test_an_npub_is_enough_for_a_peer_the_host_knows(tmp_path: Path, nostr: str) -> None:
    host, client = node(tmp_path, "host"), node(tmp_path, "client")
    npub = host.call("nostr", "key")["npub"]
    where = ("--mode", "nostr", "--nostr-relay", nostr, npub)
    with hosting(host, nostr):
        assert client.failure("connect", *ALONE, *where, "true")["code"] == "unknown-peer"
        host.call("peer", "add", client.call("identity", "show")["id"], "--name", "laptop", "--allow", "exec")
        assert said(client, *where, "echo hello") == b"hello\n"


def test_one_receiver_too_many(tmp_path: Path, nostr: str) -> None:
    host, first, second = (node(tmp_path, name) for name in ("host", "first", "second"))
    with hosting(host, nostr, "--max-sessions", "1", "--invite-uses", "2") as (_, ready):
        with first.start("connect", *ALONE, ready["ticket"], "cat; sleep 600") as process:
            process.wait_event("connected")
            error = second.failure("connect", *ALONE, ready["ticket"], "true")
            assert error["code"] == "busy"
            assert "--max-sessions" in error["hint"]
        assert said(second, ready["ticket"], "echo free") == b"free\n"
