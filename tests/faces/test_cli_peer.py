"""``irosh peer`` and ``irosh audit``, with and without a running node."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from irosh.core.identity import Identity
from irosh.core.trust import TrustStore
from tests.lab.irosh_process import Irosh
from tests.lab.machine import LOCAL
from tests.lab.pair import pinned_pair

ALICE, BOB = (Identity.from_secret(bytes([number]) * 32).id for number in (1, 2))


@pytest.fixture(params=["node running", "no node"])
def irosh(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Irosh]:
    made = Irosh(LOCAL, tmp_path / "state")
    if request.param == "no node":
        yield made
    else:
        with made.host():
            yield made


def test_a_peer_from_its_beginning_to_its_end(irosh: Irosh) -> None:
    added = irosh.call("peer", "add", ALICE, "--name", "alice", "--allow", "shell", "--allow", "exec")["peer"]
    assert (added["id"], added["petname"], added["capabilities"]) == (ALICE, "alice", ["shell", "exec"])
    assert irosh.call("peer", "list")["peers"] == [added]
    assert irosh.call("peer", "show", ALICE[:8])["peer"] == added
    assert irosh.call("peer", "rename", "alice", "Carol")["peer"]["petname"] == "Carol"
    allowed = irosh.call("peer", "allow", "carol", "files", "forward:tcp://127.0.0.1:80")["peer"]
    assert allowed["capabilities"] == ["shell", "exec", "files", "forward:tcp://127.0.0.1:80"]
    revoked = irosh.call("peer", "revoke", "carol")
    assert (revoked["peer"]["status"], revoked["connections_closed"]) == ("revoked", 0)
    assert irosh.call("peer", "block", "carol")["peer"]["status"] == "blocked"
    assert irosh.failure("peer", "allow", "carol", "shell")["code"] == "blocked"
    assert irosh.call("peer", "unblock", "carol")["peer"]["status"] == "revoked"
    assert irosh.call("peer", "remove", "carol")["removed"] == "Carol"
    assert irosh.call("peer", "list")["peers"] == []
    events = [entry["event"] for entry in irosh.call("audit", "--peer", ALICE)["entries"]]
    assert events == [
        "peer-add", "peer-rename", "peer-allow", "peer-revoke", "peer-block", "peer-unblock", "peer-remove",
    ]  # fmt: skip


def test_replacing_capabilities(irosh: Irosh) -> None:
    irosh.call("peer", "add", ALICE, "--name", "alice", "--allow", "all")
    replaced = irosh.call("peer", "allow", "alice", "shell", "--replace")["peer"]
    assert replaced["capabilities"] == ["shell"]
    irosh.call("peer", "revoke", "alice")
    again = irosh.call("peer", "allow", "alice", "exec", "--replace")["peer"]
    assert (again["status"], again["capabilities"]) == ("active", ["exec"])


def test_access_that_expires(irosh: Irosh) -> None:
    irosh.call("peer", "add", ALICE, "--name", "alice")
    before = time.time()
    expires_at = irosh.call("peer", "allow", "alice", "shell", "--expires", "2d")["peer"]["expires_at"]
    assert before + 2 * 86_400 - 1 <= expires_at <= time.time() + 2 * 86_400
    irosh.call("peer", "allow", "alice", "shell", "--expires", "0.001s")
    assert "expired" in irosh.run("peer", "list").stdout.decode()
    assert irosh.call("peer", "allow", "alice", "exec")["peer"]["capabilities"] == ["exec"]
    assert "active" in irosh.run("peer", "list").stdout.decode()


def test_an_identity_never_seen_can_be_blocked_and_unblocked(irosh: Irosh) -> None:
    blocked = irosh.call("peer", "block", BOB)
    assert (blocked["peer"]["id"], blocked["peer"]["status"]) == (BOB, "blocked")
    assert irosh.failure("peer", "add", BOB)["code"] == "blocked"
    unblocked = irosh.call("peer", "unblock", BOB)
    assert (unblocked["id"], unblocked["peer"]) == (BOB, None)
    assert irosh.call("peer", "list")["peers"] == []


def test_mistakes(irosh: Irosh) -> None:
    irosh.call("peer", "add", ALICE, "--name", "alice")
    for arguments, code in {
        ("add", "abc"): "unknown-target",
        ("add", ALICE[:-1] + "g"): "unknown-target",
        ("add", BOB, "--name", "alice"): "name-taken",
        ("add", BOB, "--name", "-x"): "usage",
        ("add", BOB, "--allow", "everything"): "invalid-capability",
        ("rename", "alice", "two words"): "usage",
        ("rename", "nobody", "somebody"): "unknown-target",
        ("allow", "alice", "forward:tcp://nowhere"): "invalid-capability",
        ("allow", "nobody", "shell"): "unknown-target",
        ("revoke", "nobody"): "unknown-target",
        ("block", "nobody"): "unknown-target",
        ("unblock", "nobody"): "unknown-target",
        ("remove", "nobody"): "unknown-target",
        ("show", "nobody"): "unknown-target",
    }.items():
        assert irosh.failure("peer", *arguments)["code"] == code, arguments
    assert irosh.failure("audit", "--peer", "nobody")["code"] == "unknown-target"
    [alice] = irosh.call("peer", "list")["peers"]
    assert (alice["petname"], alice["capabilities"], alice["status"]) == ("alice", [], "active")


def test_text_for_people(irosh: Irosh) -> None:
    assert "No peers yet" in irosh.run("peer", "list").stdout.decode()
    irosh.call("peer", "add", ALICE, "--name", "alice", "--allow", "shell")
    irosh.call("peer", "add", BOB, "--name", "bob", "--allow", "all")
    revoked = irosh.run("peer", "revoke", "bob").stdout.decode()
    assert revoked == "bob has no access any more\n"
    header, alice, bob = irosh.run("peer", "list").stdout.decode().splitlines()
    assert header.split() == ["PEER", "ID", "STATUS", "SEEN", "MAY", "USE"]
    assert alice.split() == ["alice", ALICE[:10], "active", "never", "shell"]
    assert bob.split() == ["bob", BOB[:10], "revoked", "never", "-"]
    shown = irosh.run("peer", "show", "alice").stdout.decode()
    assert ALICE in shown
    assert "manual" in shown


def test_the_audit_can_be_narrowed(irosh: Irosh) -> None:
    irosh.call("peer", "add", ALICE, "--name", "alice")
    irosh.call("peer", "add", BOB, "--name", "bob")
    irosh.call("peer", "revoke", "alice")
    entries = irosh.call("audit")["entries"]
    assert [entry["event"] for entry in entries][-3:] == ["peer-add", "peer-add", "peer-revoke"]
    assert [entry["number"] for entry in irosh.call("audit", "--limit", "2")["entries"]] == [
        entry["number"] for entry in entries[-2:]
    ]
    assert {entry["peer"] for entry in irosh.call("audit", "--peer", "bob")["entries"]} == {BOB}
    assert len(irosh.call("audit", "--since", "1h")["entries"]) == len(entries)
    assert irosh.call("audit", "--since", "0.000001s")["entries"] == []
    lines = irosh.run("audit").stdout.decode().splitlines()
    assert lines[0].split() == ["TIME", "PEER", "OUTCOME", "EVENT", "DETAIL"]
    assert lines[-1].split()[2:] == ["alice", "changed", "peer-revoke", "alice"]


def test_a_long_audit_is_shown_whole(irosh: Irosh) -> None:
    """More than fits a frame of the control socket."""
    from irosh.core.trust import TrustStore

    with TrustStore(irosh.state / "irosh.db") as trust:
        for number in range(1500):
            trust.audit("use", ALICE, "refused", f"{number} " + "x" * 380)
    answer = irosh.call("audit", "--limit", "1500")
    assert [entry["detail"].split()[0] for entry in answer["entries"]] == [str(number) for number in range(1500)]


def test_what_a_peer_wrote_cannot_reach_the_terminal(irosh: Irosh) -> None:
    from irosh.core.trust import TrustStore

    irosh.call("peer", "add", ALICE, "--name", "alice")
    with TrustStore(irosh.state / "irosh.db") as trust:
        trust.remember_route(ALICE, (), (), "root\x1b[2J\nalice")
        trust.audit("use", ALICE, "refused", "exec\x1b]0;title\x07\r\nforged line")
    for arguments in (["peer", "show", "alice"], ["peer", "list"], ["audit"]):
        done = irosh.run(*arguments)
        assert done.returncode == 0
        assert all(line.isprintable() for line in done.stdout.decode().split("\n"))
        assert not any(line.startswith("forged") for line in done.stdout.decode().splitlines())


def test_changes_reach_live_connections(tmp_path: Path) -> None:
    with pinned_pair(tmp_path) as pair:
        client = pair.client.call("identity", "show")["id"]
        for command, code in (("revoke", "revoked"), ("remove", "unknown-peer"), ("block", "blocked")):
            with pair.client.start("connect", "box", "echo started; sleep 1000") as session:
                session.wait_event("stdout")
                changed = pair.host.call("peer", command, client)
                assert changed["connections_closed"] == 1
                error = session.wait_failure(timeout=20)
            assert error["code"] == code
            assert {"revoke": "revoked", "remove": "removed", "block": "blocked"}[command] in error["message"]
            assert session.process.returncode == 255
            assert pair.client.failure("connect", "box", "true")["code"] == code
            if command != "block":
                invite = pair.host.call("invite")["ticket"]
                assert pair.client.run("connect", invite, "true").returncode == 0


def test_how_a_peer_is_met_is_remembered(irosh: Irosh) -> None:
    irosh.call("peer", "add", ALICE, "--name", "alice")
    assert irosh.failure("peer", "mode", "alice", "nostr")["code"] == "usage"
    npub = irosh.call("nostr", "key")["npub"]
    peer = irosh.call("peer", "mode", "alice", "nostr", "--npub", npub, "--nostr-relay", "ws://127.0.0.1:1/")["peer"]
    assert (peer["mode"], peer["npub"], peer["nostr_relays"]) == ("nostr", npub, ["ws://127.0.0.1:1"])
    assert irosh.call("peer", "mode", "alice", "iroh-default")["peer"]["npub"] == npub
    assert (
        irosh.failure("peer", "mode", "alice", "nostr", "--npub", npub[:-1] + ("p" if npub[-1] == "q" else "q"))["code"]
        == "unknown-target"
    )
    assert irosh.failure("peer", "mode", "alice", "pigeon")["code"] == "usage"


def test_a_gateway_that_shows_very_many_machines_does_not_bury_the_peers(tmp_path: Path) -> None:
    irosh = Irosh(LOCAL, tmp_path / "state")
    irosh.call("peer", "add", ALICE, "--name", "alice")
    with TrustStore(irosh.state / "irosh.db") as trust:
        trust.machines.remember(ALICE, {f"m{number:03}": f"ssh://10.0.0.{number}" for number in range(200)})
    lines = irosh.run("peer", "list").stdout.decode().splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["PEER", "alice", "m000"]
    assert (len(lines), lines[-1].split()[:5]) == (53, ["150", "more", "by", "alice", "legacy"])
    assert len(irosh.call("peer", "list")["machines"]) == 200
