"""``irosh invite`` and ``irosh status`` beside a running host."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from irosh import __version__
from irosh.core.capability import DEFAULT_INVITE_CAPABILITIES
from irosh.core.ticket import parse_target
from tests.lab.irosh_process import Irosh
from tests.lab.machine import LOCAL
from tests.lab.pair import pinned_pair


@pytest.fixture
def irosh(tmp_path: Path) -> Irosh:
    return Irosh(LOCAL, tmp_path / "state")


def test_an_invite_grants_what_it_says(irosh: Irosh, tmp_path: Path) -> None:
    with irosh.host():
        before = time.time()
        made = irosh.call("invite", "--allow", "exec", "--allow", "user:daemon", "--uses", "2", "--expires", "10m")
        assert made["capabilities"] == ["exec", "user:daemon"]
        assert made["uses"] == 2
        assert before + 599 <= made["expires_at"] <= time.time() + 600
        ticket = parse_target(made["ticket"])
        assert ticket is not None
        assert ticket.endpoint_id == made["id"] == irosh.call("status")["id"]
        assert ticket.invite is not None
        for name in ("first", "second"):
            assert Irosh(LOCAL, tmp_path / name).run("connect", made["ticket"], "true").returncode == 0
        third = Irosh(LOCAL, tmp_path / "third")
        assert third.failure("connect", made["ticket"], "true")["code"] == "invite-used"
        assert [peer["capabilities"] for peer in irosh.call("peer", "list")["peers"]] == [made["capabilities"]] * 2


def test_an_invite_by_default(irosh: Irosh) -> None:
    with irosh.host():
        made = irosh.call("invite")
        text = irosh.run("invite").stdout.decode()
        listed = irosh.call("invite", "--list")["invites"]
        table = irosh.run("invite", "--list").stdout.decode().splitlines()
    assert tuple(made["capabilities"]) == DEFAULT_INVITE_CAPABILITIES
    assert made["uses"] == 1
    assert "lets one peer in, for 1h from now" in text
    assert "    irosh connect irosh1" in text
    # The one of `irosh host` itself, and the two made here.
    assert [(invite["uses"], invite["uses_left"]) for invite in listed] == [(1, 1)] * 3
    assert table[0].split() == ["INVITE", "USES", "LEFT", "EXPIRES", "IN", "GRANTS"]
    assert [line.split()[0] for line in table[1:]] == [invite["id"] for invite in listed]


def test_a_ticket_as_a_qr_code(irosh: Irosh) -> None:
    with irosh.host():
        plain = irosh.run("invite").stdout.decode()
        with_code = irosh.run("invite", "--qr").stdout.decode()
    assert "█" not in plain
    code = [line for line in with_code.splitlines() if "█" in line]
    assert len(code) > 20
    assert len({len(line) for line in code}) == 1


def test_an_invite_needs_a_host(irosh: Irosh, tmp_path: Path) -> None:
    assert irosh.failure("invite")["code"] == "not-running"
    with pinned_pair(tmp_path) as pair, pair.client.tunnel("box", "tcp://127.0.0.1:9=127.0.0.1:0"):
        error = pair.client.failure("invite")
        assert error["code"] == "not-running"
        assert "no host" in error["message"]


def test_mistaken_invites(irosh: Irosh) -> None:
    with irosh.host():
        assert irosh.failure("invite", "--allow", "everything")["code"] == "invalid-capability"
        assert irosh.failure("invite", "--uses", "0")["code"] == "usage"


def test_status_without_a_node_touches_nothing(tmp_path: Path) -> None:
    state = tmp_path / "none"
    irosh = Irosh(LOCAL, state)
    (state / "config.toml").unlink()
    state.rmdir()
    found = irosh.call("status")
    assert (found["running"], found["id"], found["pid"], found["connections"]) == (False, None, None, [])
    assert found["state"] == str(state)
    assert not state.exists()
    assert "not running" in irosh.run("status").stdout.decode()


def test_status_without_a_node_knows_the_identity(irosh: Irosh) -> None:
    own = irosh.call("identity", "show")["id"]
    found = irosh.call("status")
    assert (found["running"], found["id"]) == (False, own)
    assert own in irosh.run("status").stdout.decode()


def test_status_of_both_ends(tmp_path: Path) -> None:
    with pinned_pair(tmp_path) as pair, pair.client.tunnel("box", "tcp://127.0.0.1:9=127.0.0.1:0") as tunnel:
        host, client = pair.host.call("status"), pair.client.call("status")
        text = pair.client.run("status").stdout.decode()
        tunnel_pid = tunnel.process.pid
    assert (host["running"], host["hosting"], host["version"]) == (True, True, __version__)
    assert host["pid"] == pair.host_process.pid
    assert (client["running"], client["hosting"], client["pid"]) == (True, False, tunnel_pid)
    assert client["pid"] != os.getpid()
    [outgoing], incoming = client["connections"], host["connections"][-1]
    assert (outgoing["peer"], outgoing["id"], outgoing["direction"]) == ("box", host["id"], "outgoing")
    assert (incoming["id"], incoming["direction"]) == (client["id"], "incoming")
    assert (outgoing["path"], outgoing["paths"][0]["selected"]) == ("direct", True)
    row = text.splitlines()[-1].split()
    assert row[:3] == ["box", "outgoing", "direct"]
    assert row[-1] == outgoing["paths"][0]["remote"]
    assert "No connections" not in text


def test_status_of_a_host_that_nobody_uses(irosh: Irosh) -> None:
    with irosh.host():
        assert irosh.run("status").stdout.decode().splitlines()[-1] == "No connections."
