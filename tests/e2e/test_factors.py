"""Second factors as people meet them: prompts in a terminal, programs that answer, wrong answers, lockout."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from irosh.core import totp
from tests.e2e.passwords import PASSWORD, askpass, client_name, require_password
from tests.lab.machine import LOCAL
from tests.lab.pair import PEER, Pair, pinned_pair
from tests.lab.processes import wait_until
from tests.lab.requirements import requires
from tests.lab.terminal import Terminal


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with pinned_pair(tmp_path, config="[host]\nfactor_attempts = 4\n") as pair:
        yield pair


def test_a_program_gives_the_password(pair: Pair, tmp_path: Path) -> None:
    require_password(pair)
    done = pair.client.run("connect", PEER, "echo in", environment=askpass(tmp_path, PASSWORD))
    assert (done.returncode, done.stdout) == (0, b"in\n"), done.stderr
    assert (tmp_path / "asked").read_text() == f"Password for {PEER}: \n"


def test_without_anybody_to_ask_the_error_says_what_is_missing(pair: Pair) -> None:
    require_password(pair)
    error = pair.client.failure("connect", PEER, "true")
    assert error["code"] == "factor-required"
    assert "SSH_ASKPASS" in error["hint"]


def test_a_tunnel_asks_too(pair: Pair, tmp_path: Path) -> None:
    require_password(pair)
    environment = askpass(tmp_path, PASSWORD)
    pair.client.environment.update(environment)
    with pair.client.tunnel(PEER, "tcp://127.0.0.1:9=127.0.0.1:0"):
        # The node of the tunnel has given the password: whoever attaches to it is not asked again.
        (tmp_path / "asked").unlink()
        assert pair.client.run("connect", PEER, "true").returncode == 0
        assert not (tmp_path / "asked").exists()
    pair.client.run("connect", PEER, "true")
    assert (tmp_path / "asked").exists()


def test_what_was_given_is_asked_for_again_when_it_has_expired(tmp_path: Path) -> None:
    with pinned_pair(tmp_path, config='[host]\nfactor_lifetime = "3s"\n') as pair:
        require_password(pair)
        pair.client.environment.update(askpass(tmp_path, PASSWORD))
        with pair.client.tunnel(PEER, "tcp://127.0.0.1:9=127.0.0.1:0"):
            assert pair.client.run("connect", PEER, "true").returncode == 0
            (tmp_path / "asked").unlink()
            time.sleep(3.5)
            assert pair.client.run("connect", PEER, "true").returncode == 0
            assert (tmp_path / "asked").read_text().count("Password") == 1


def test_irosh_verify_gives_the_factor_beforehand(pair: Pair, tmp_path: Path) -> None:
    assert pair.client.failure("verify", PEER)["code"] == "not-running"
    with pair.client.tunnel(PEER, "tcp://127.0.0.1:9=127.0.0.1:0"):
        require_password(pair)
        pair.client.environment.update(askpass(tmp_path, PASSWORD))
        assert pair.client.call("verify", PEER)["given"] == ["password"]
        assert pair.client.call("verify", PEER)["given"] == []
        (tmp_path / "asked").unlink()
        assert pair.client.run("connect", PEER, "true").returncode == 0
        assert not (tmp_path / "asked").exists()


def test_a_wrong_password_three_times_then_the_lockout_and_its_end(pair: Pair, tmp_path: Path) -> None:
    require_password(pair)
    wrong = pair.client.run("connect", PEER, "true", environment=askpass(tmp_path, "a wrong guess"))
    assert wrong.returncode == 255
    assert wrong.stderr.count(b"irosh: wrong password") == 3
    again = pair.client.run("connect", PEER, "true", environment=askpass(tmp_path, "another guess"))
    assert b"locked out after 4 failed attempts" in again.stderr
    environment = askpass(tmp_path, PASSWORD)
    assert pair.client.run("connect", PEER, "true", environment=environment).returncode == 255
    assert pair.host.call("peer", "show", client_name(pair))["factors"]["failures"] == 4
    assert pair.host.call("peer", "unlock", client_name(pair))["failures"] == 4
    assert pair.client.run("connect", PEER, "true", environment=environment).returncode == 0


def prompted(terminal: Terminal, times: int) -> bool:
    """Whether the password is asked for, after ``times`` less one wrong answers."""
    return terminal.screen().count(f"Password for {PEER}:") == times


@requires("tmux")
def test_prompts_in_a_terminal(pair: Pair, tmp_path: Path) -> None:
    require_password(pair)
    with Terminal.open(LOCAL, tmp_path, *pair.client.command, "connect", PEER, columns=110) as terminal:
        terminal.wait_for(f"Password for {PEER}:")
        terminal.type("not this one")
        terminal.wait_for("irosh: wrong password")
        assert "not this one" not in terminal.screen()
        wait_until(lambda: terminal.screen().count(f"Password for {PEER}:") == 2, what="it is asked for again")
        terminal.type(PASSWORD)
        # What is typed before the prompt of the shell is there may be forgotten: reading passwords ends with that.
        wait_until(lambda: "Password" not in terminal.screen().split()[-1], what="there is another prompt")
        terminal.type("echo $((40+2))")
        terminal.wait_for("42")
        assert PASSWORD not in terminal.screen()
        terminal.type("exit")
        assert terminal.wait_exit() == 0


@requires("tmux")
def test_a_wrong_password_three_times_in_a_terminal_ends_in_a_lockout(pair: Pair, tmp_path: Path) -> None:
    require_password(pair)
    with Terminal.open(LOCAL, tmp_path, "/bin/sh", columns=110) as terminal:
        command = f"{' '.join(pair.client.command)} connect {PEER} true"
        for attempt in range(4):
            if attempt in (0, 3):
                terminal.type(f"clear; {command}")
            prompts = attempt % 3 + 1
            wait_until(partial(prompted, terminal, prompts), what="it is asked for")
            terminal.type(f"guess {attempt}")
        terminal.wait_for("locked out after 4 failed attempts")
        terminal.wait_for("irosh peer unlock NAME")
        pair.host.call("peer", "unlock", client_name(pair))
        terminal.type("clear")
        wait_until(lambda: "Password" not in terminal.screen(), what="the screen is empty")
        terminal.type(f"{command} && echo let in")
        terminal.wait_for(f"Password for {PEER}:")
        terminal.type(PASSWORD)
        terminal.wait_for("\nlet in")


def test_a_code_of_an_authenticator_app(pair: Pair, tmp_path: Path) -> None:
    shown = pair.host.call("peer", "require", client_name(pair), "totp")["totp"]
    assert shown["uri"].startswith("otpauth://totp/")
    secret = totp.decode_secret(shown["secret"])
    code = totp.code_for(secret, totp.step_at(time.time()))
    assert pair.client.run("connect", PEER, "true", environment=askpass(tmp_path, code)).returncode == 0
    replayed = pair.client.run("connect", PEER, "true", environment=askpass(tmp_path, code))
    assert b"wrong code, or one that was used already" in replayed.stderr


def test_the_code_is_provisioned_by_a_qr_code(pair: Pair) -> None:
    shown = pair.host.run("peer", "require", client_name(pair), "totp").stdout.decode()
    assert "otpauth://totp/" in shown
    assert "▀" in shown or "█" in shown
    assert "otpauth" not in pair.host.run("peer", "require", client_name(pair), "totp").stdout.decode()


def test_a_new_peer_must_give_what_its_invite_requires(pair: Pair, tmp_path: Path) -> None:
    invite = pair.host.call("invite", "--require", "password")
    assert invite["require"] == ["password"]
    other = type(pair.client)(pair.client.machine, tmp_path / "other")
    refused = other.failure("connect", "--name", PEER, str(invite["ticket"]), "true")
    assert refused["code"] == "factor-failed"
    assert "irosh peer require NAME password" in refused["hint"]
    names = [peer["petname"] for peer in pair.host.call("peer", "list")["peers"]]
    (name,) = [name for name in names if name != client_name_before(pair)]
    pair.host.run("peer", "require", name, "password", stdin=PASSWORD.encode())
    done = other.run("connect", PEER, "echo in", environment=askpass(tmp_path, PASSWORD))
    assert done.stdout == b"in\n", done.stderr


def client_name_before(pair: Pair) -> str:
    """The first peer of the host."""
    peers = pair.host.call("peer", "list")["peers"]
    return str(min(peers, key=lambda peer: peer["first_seen"])["petname"])


def test_no_secret_is_in_any_output_log_or_audit(pair: Pair, tmp_path: Path) -> None:
    require_password(pair)
    done = pair.client.run("-vv", "connect", PEER, "true", environment=askpass(tmp_path, PASSWORD))
    assert done.returncode == 0
    shown = done.stdout + done.stderr + pair.host.run("audit").stdout
    shown += pair.host.run("peer", "show", client_name(pair)).stdout
    shown += json.dumps(pair.host.call("peer", "show", client_name(pair))).encode()
    assert PASSWORD.encode() not in shown
    assert b"argon2" not in shown
    assert b"factor" in shown
