"""``-A``: the client's ssh-agent in sessions on the host."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.openssh import openssh
from tests.lab.pair import PEER, Pair, pinned_pair
from tests.lab.processes import wait_until
from tests.lab.requirements import requires
from tests.lab.ssh_agent import Agent, ssh_agent

pytestmark = requires("ssh", "ssh-agent", "ssh-add", "ssh-keygen")

SIGN = "ssh-keygen -q -Y sign -n test -f $KEY < /etc/hostname"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pinned_pair(tmp_path_factory.mktemp("pair")) as made:
        identity = made.client.call("identity", "show")["id"]
        made.host.call("peer", "allow", identity, "agent")
        yield made


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with tempfile.TemporaryDirectory(prefix="irosh-agent-test-") as directory, ssh_agent(Path(directory)) as made:
        yield made


def asking(directory: Path, answer: str) -> dict[str, str]:
    """An SSH_ASKPASS that writes down what it is asked, and says yes or no."""
    program = directory / "askpass"
    program.write_text(f'#!/bin/sh\necho "$SSH_ASKPASS_PROMPT: $1" >> {directory}/asked\n{answer}\n')
    program.chmod(0o755)
    return {"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"}


def sign(pair: Pair, agent: Agent, *options: str, environment: Mapping[str, str]) -> tuple[int, bytes, bytes]:
    """Have the agent sign something from the host."""
    command = f"KEY={agent.key.with_suffix('.pub')}; {SIGN}"
    done = pair.client.run("connect", *options, PEER, command, environment={**agent.environment, **environment})
    return done.returncode, done.stdout, done.stderr


def test_the_keys_are_seen_and_used_on_the_host(pair: Pair, agent: Agent) -> None:
    done = pair.client.run("connect", "-A", PEER, "ssh-add -L", environment=agent.environment)
    assert agent.blob.encode() in done.stdout, done.stderr
    status, out, err = sign(pair, agent, "-A", environment={})
    assert (status, out.startswith(b"-----BEGIN SSH SIGNATURE-----")) == (0, True), err


def test_without_the_option_there_is_none(pair: Pair, agent: Agent) -> None:
    command = "echo [$SSH_AUTH_SOCK]"
    done = pair.client.run("connect", PEER, command, environment=agent.environment)
    assert done.stdout == b"[]\n"
    with pair.client.start("connect", "-A", PEER, "sleep 600"):
        done = pair.client.run("connect", PEER, command, environment=agent.environment)
        assert done.stdout == b"[]\n"


def test_what_is_set_for_a_peer_holds_where_nothing_is_said(pair: Pair, agent: Agent, tmp_path: Path) -> None:
    client, command = pair.client, ("connect", PEER, "ssh-add -L; true")
    blob = agent.blob.encode()
    try:
        assert client.call("peer", "forward-agent", PEER, "yes")["peer"]["forward_agent"] == "yes"
        assert blob in client.run(*command, environment=agent.environment).stdout
        assert b"\nyour agent" in client.run("peer", "show", PEER).stdout
        assert blob not in client.run("connect", "-a", *command[1:], environment=agent.environment).stdout
        # what was only set does not stop a session
        done = client.run(*command, environment={"SSH_AUTH_SOCK": str(tmp_path / "none")})
        assert done.returncode == 0, done.stderr
        client.call("peer", "forward-agent", PEER, "confirm")
        status, out, _ = sign(pair, agent, environment=asking(tmp_path, "exit 1"))
        assert (status != 0, out) == (True, b"")
        assert "(agent_key)?" in (tmp_path / "asked").read_text()
    finally:
        client.call("peer", "forward-agent", PEER, "no")


def test_the_socket_is_the_accounts_alone_and_gone_afterwards(pair: Pair, agent: Agent) -> None:
    command = "echo $SSH_AUTH_SOCK; stat -c '%a %u' $(dirname $SSH_AUTH_SOCK); stat -c '%a %u' $SSH_AUTH_SOCK"
    done = pair.client.run("connect", "-A", PEER, command, environment=agent.environment)
    path, directory, socket = done.stdout.decode().splitlines()
    assert (directory, socket) == (f"700 {os.geteuid()}", f"600 {os.geteuid()}")
    wait_until(lambda: not Path(path).parent.exists(), what="the directory has gone")


def test_it_goes_too_when_the_client_is_killed(pair: Pair, agent: Agent) -> None:
    pair.client.environment.update(agent.environment)
    try:
        with pair.client.start("connect", "-A", PEER, "echo $SSH_AUTH_SOCK; sleep 600") as process:
            path = Path(str(process.wait_event("stdout")["data"]).strip())
            assert stat.S_ISSOCK(path.stat().st_mode)
            process.stop()
        wait_until(lambda: not path.parent.exists(), what="the directory has gone")
    finally:
        del pair.client.environment["SSH_AUTH_SOCK"]


def test_the_host_decides_who_may_bring_an_agent(pair: Pair, agent: Agent, tmp_path: Path) -> None:
    poor = pair.add_client(tmp_path / "poor", allow=("exec",))
    done = poor.run("connect", "-A", PEER, "true", environment=agent.environment)
    assert done.returncode == 255
    assert b"may not use agent" in done.stderr


def test_a_missing_agent_is_said(pair: Pair, tmp_path: Path) -> None:
    for environment in ({}, {"SSH_AUTH_SOCK": str(tmp_path / "nothing")}):
        done = pair.client.run("connect", "-A", PEER, "true", environment=environment)
        assert (done.returncode, b"there is no ssh-agent" in done.stderr) == (255, True), done.stderr


def test_an_agent_that_ends_meanwhile_fails_cleanly(pair: Pair) -> None:
    command = "ssh-add -L > /dev/null && echo there; read line; ssh-add -L; echo $?"
    with tempfile.TemporaryDirectory(prefix="irosh-agent-test-") as directory, ExitStack() as stack:
        own = stack.enter_context(ssh_agent(Path(directory)))
        pair.client.environment.update(own.environment)
        try:
            with pair.client.start("connect", "-A", PEER, command, stdin=subprocess.PIPE) as process:
                process.wait_event("stdout")
                stack.close()  # the agent has gone
                assert process.process.stdin is not None
                process.process.stdin.write(b"\n")
                process.process.stdin.flush()
                event = process.wait_event("stdout")
                assert str(event["data"]).strip().endswith(("1", "2")), event
                assert process.wait_exit() == 0
        finally:
            del pair.client.environment["SSH_AUTH_SOCK"]


def test_each_use_is_confirmed(pair: Pair, agent: Agent, tmp_path: Path) -> None:
    status, out, err = sign(pair, agent, "--confirm-agent", environment=asking(tmp_path, "exit 0"))
    assert (status, out.startswith(b"-----BEGIN SSH SIGNATURE-----")) == (0, True), err
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith(f"confirm: Let {PEER} use your key SHA256:")
    assert "(agent_key)?" in asked


def test_a_no_is_a_no(pair: Pair, agent: Agent, tmp_path: Path) -> None:
    status, out, err = sign(pair, agent, "--confirm-agent", environment=asking(tmp_path, "exit 1"))
    assert (status == 0, out) == (False, b""), err
    done = pair.client.run(
        "connect", "--confirm-agent", PEER, "ssh-add -L", environment={**agent.environment, "SSH_ASKPASS": "/bin/false"}
    )
    assert agent.blob.encode() in done.stdout, "looking needs no confirmation"


def test_nobody_to_ask_is_a_no(pair: Pair, agent: Agent) -> None:
    status, out, _ = sign(pair, agent, "--confirm-agent", environment={"SSH_ASKPASS": "/nonexistent"})
    assert (status == 0, out) == (False, b"")


def test_a_guarded_agent_is_not_changed_from_afar(pair: Pair, agent: Agent, tmp_path: Path) -> None:
    command = "ssh-add -D; ssh-add -x < /dev/null; ssh-add -L"
    environment = {**agent.environment, **asking(tmp_path, "exit 0")}
    done = pair.client.run("connect", "--confirm-agent", PEER, command, environment=environment)
    assert agent.blob.encode() in done.stdout, done.stderr


def test_stock_ssh_through_the_proxy(pair: Pair, agent: Agent, tmp_path: Path) -> None:
    ssh = openssh(pair.client, tmp_path)
    done = pair.client.machine.run(*ssh.command, "-A", PEER, "ssh-add -L", environment=agent.environment, check=False)
    assert agent.blob.encode() in done.stdout, done.stderr
    done = pair.client.machine.run(*ssh.command, PEER, "echo [$SSH_AUTH_SOCK]", environment=agent.environment)
    assert done.stdout == b"[]\n"
