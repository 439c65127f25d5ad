"""Second factors of stock OpenSSH through ``irosh proxy``, and security keys that OpenSSH made, without hardware."""

from __future__ import annotations

import getpass
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from irosh.core import totp
from tests.e2e.openssh import FORBIDDEN, OpenSSH, openssh
from tests.e2e.passwords import PASSWORD, askpass, client_name, require_password
from tests.lab.machine import LOCAL
from tests.lab.pair import PEER, Pair, pinned_pair
from tests.lab.processes import wait_until
from tests.lab.requirements import requires
from tests.lab.soft_authenticator import SoftAuthenticator
from tests.lab.terminal import Terminal

pytestmark = requires("ssh")

PROVIDER = "SSH_SK_PROVIDER"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with pinned_pair(tmp_path, config="[host]\nfactor_attempts = 4\n") as pair:
        yield pair


@pytest.fixture
def ssh(pair: Pair, tmp_path: Path) -> OpenSSH:
    options = tuple(option for option in openssh(pair.client, tmp_path).options if option != "-oBatchMode=yes")
    return OpenSSH((*options, "-oIdentityAgent=none"))


def run(ssh: OpenSSH, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[bytes]:
    provider = [f"-oSecurityKeyProvider={environment[PROVIDER]}"] if PROVIDER in environment else []
    return LOCAL.run(*ssh.command, *provider, *arguments, stdin=b"", check=False, environment=environment)


@pytest.fixture
def authenticator(tmp_path: Path) -> SoftAuthenticator:
    directory = tmp_path / "authenticator"
    directory.mkdir()
    return SoftAuthenticator(directory)


def require_key(pair: Pair, key: Path, *options: str, also: tuple[str, ...] = ()) -> None:
    done = pair.host.run(
        "peer", "require", client_name(pair), "security-key", *also, "--key", f"{key}.pub", *options,
        stdin=f"{PASSWORD}\n".encode(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_ssh_asks_for_the_password(pair: Pair, ssh: OpenSSH, tmp_path: Path) -> None:
    require_password(pair)
    done = run(ssh, askpass(tmp_path, PASSWORD), PEER, "echo in")
    assert (done.returncode, done.stdout) == (0, b"in\n"), done.stderr
    # It counts for that SSH connection only.
    assert run(ssh, {}, "-oBatchMode=yes", PEER, "true").returncode == 255


def test_ssh_in_batch_mode_is_refused_and_opens_nothing(pair: Pair, ssh: OpenSSH) -> None:
    require_password(pair)
    remote = ("-N", "-oExitOnForwardFailure=yes", "-R0:[::1]:1", PEER)
    for arguments in ((PEER, "true"), ("-W", FORBIDDEN, PEER), remote):
        done = run(ssh, {}, "-oBatchMode=yes", *arguments)
        assert done.returncode == 255
        assert b"Permission denied (keyboard-interactive)" in done.stderr


def test_wrong_passwords_by_ssh_lock_out_and_say_so(pair: Pair, ssh: OpenSSH, tmp_path: Path) -> None:
    require_password(pair)
    wrong = run(ssh, askpass(tmp_path, "a wrong guess"), PEER, "true")
    assert wrong.returncode == 255
    assert b"irosh: wrong password" in wrong.stderr
    again = run(ssh, askpass(tmp_path, "another guess"), PEER, "true")
    assert b"locked out after 4 failed attempts" in again.stderr
    assert run(ssh, askpass(tmp_path, PASSWORD), PEER, "true").returncode == 255
    pair.host.call("peer", "unlock", client_name(pair))
    assert run(ssh, askpass(tmp_path, PASSWORD), PEER, "true").returncode == 0


def test_ssh_asks_for_password_and_code(pair: Pair, ssh: OpenSSH, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD)
    options = ("password", "totp", "--password-file", str(tmp_path / "password"))
    shown = pair.host.call("peer", "require", client_name(pair), *options)["totp"]
    code = totp.code_for(totp.decode_secret(shown["secret"]), totp.step_at(time.time()))
    environment = askpass(tmp_path, "")
    Path(environment["SSH_ASKPASS"]).write_text(
        f"#!/bin/sh\ncase $1 in *Code*) echo {code};; *) echo {shlex.quote(PASSWORD)};; esac\n"
    )
    done = run(ssh, environment, PEER, "echo in")
    assert (done.returncode, done.stdout) == (0, b"in\n"), done.stderr
    assert run(ssh, environment, PEER, "true").returncode == 255  # the code was used


@requires("tmux")
def test_ssh_prompts_in_a_terminal(pair: Pair, ssh: OpenSSH, tmp_path: Path) -> None:
    require_password(pair)
    with Terminal.open(LOCAL, tmp_path, *ssh.command, PEER, columns=110) as terminal:
        terminal.wait_for(f"({getpass.getuser()}@{PEER}) Password:")
        terminal.type("not this one")
        terminal.wait_for("irosh: wrong password")
        wait_until(lambda: terminal.screen().count("Password:") == 2, what="it is asked for again")
        terminal.type(PASSWORD)
        # What is typed before the prompt of the shell is there may be forgotten: reading passwords ends with that.
        wait_until(lambda: "Password" not in terminal.screen().split()[-1], what="there is another prompt")
        terminal.type("echo $((40+2))")
        terminal.wait_for("42")
        terminal.type("exit")
        assert terminal.wait_exit() == 0


def test_ssh_uses_a_security_key(pair: Pair, ssh: OpenSSH, authenticator: SoftAuthenticator) -> None:
    key, other = authenticator.make_key("key"), authenticator.make_key("other")
    require_key(pair, key)
    refused = run(ssh, authenticator.environment, "-oBatchMode=yes", "-i", str(other), PEER, "true")
    assert b"Permission denied (publickey)" in refused.stderr
    for _ in range(2):
        done = run(ssh, authenticator.environment, "-oBatchMode=yes", "-i", str(key), PEER, "echo in")
        assert (done.returncode, done.stdout) == (0, b"in\n"), done.stderr


def test_ssh_uses_a_security_key_and_a_password(
    pair: Pair, ssh: OpenSSH, authenticator: SoftAuthenticator, tmp_path: Path
) -> None:
    key = authenticator.make_key("key")
    require_key(pair, key, also=("password",))
    only_key = run(ssh, authenticator.environment, "-oBatchMode=yes", "-i", str(key), PEER, "true")
    assert b"Permission denied (keyboard-interactive)" in only_key.stderr
    environment = {**authenticator.environment, **askpass(tmp_path, PASSWORD)}
    done = run(ssh, environment, "-i", str(key), PEER, "echo in")
    assert (done.returncode, done.stdout) == (0, b"in\n"), done.stderr


def test_a_key_that_need_not_be_touched_is_not_enough(
    pair: Pair, ssh: OpenSSH, authenticator: SoftAuthenticator
) -> None:
    key = authenticator.make_key("key", "-O", "no-touch-required")
    require_key(pair, key)
    assert run(ssh, authenticator.environment, "-oBatchMode=yes", "-i", str(key), PEER, "true").returncode == 255
    pair.host.run("peer", "unlock", client_name(pair))
    require_key(pair, key, "--no-touch-required")
    done = run(ssh, authenticator.environment, "-oBatchMode=yes", "-i", str(key), PEER, "true")
    assert done.returncode == 0, done.stderr


@contextmanager
def agent(directory: Path, provider: str) -> Iterator[dict[str, str]]:
    """An ssh-agent of its own that may load ``provider``."""
    sock = directory / "agent.sock"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(sock), "-P", provider], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not sock.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        yield {"SSH_AUTH_SOCK": str(sock)}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def test_irosh_connect_signs_by_the_agent(pair: Pair, authenticator: SoftAuthenticator, tmp_path: Path) -> None:
    key = authenticator.make_key("key")
    require_key(pair, key)
    home = tmp_path / "home"
    home.mkdir()
    without = pair.client.run("connect", PEER, "true", environment={"HOME": str(home), "SSH_AUTH_SOCK": ""})
    assert b"the security key could not be used" in without.stderr
    with agent(tmp_path, authenticator.environment["SSH_SK_PROVIDER"]) as environment:
        LOCAL.run("ssh-add", "-S", authenticator.environment["SSH_SK_PROVIDER"], str(key), environment=environment)
        done = pair.client.run("connect", PEER, "echo in", environment={"HOME": str(home), **environment})
    assert (done.returncode, done.stdout) == (0, b"in\n"), done.stderr
    assert b"asks for the security key; touch it" in done.stderr


def test_irosh_connect_signs_by_a_key_file(pair: Pair, authenticator: SoftAuthenticator, tmp_path: Path) -> None:
    key = authenticator.make_key("key", "-O", "verify-required")
    require_key(pair, key, "--verify-required")
    directory = tmp_path / "home" / ".ssh"
    directory.mkdir(parents=True)
    key.rename(directory / "id_ed25519_sk")
    key.with_suffix(".pub").rename(directory / "id_ed25519_sk.pub")
    environment = {"HOME": str(directory.parent), "SSH_AUTH_SOCK": "", **authenticator.environment}
    environment |= askpass(tmp_path, "123456")  # the PIN
    done = pair.client.run("connect", PEER, "echo in", environment=environment)
    assert (done.returncode, done.stdout) == (0, b"in\n"), done.stderr
