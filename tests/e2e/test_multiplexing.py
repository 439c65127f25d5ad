"""Commands that share one connection, and ``irosh connect -O`` about it."""

from __future__ import annotations

from tests.lab.irosh_process import Irosh
from tests.lab.pair import PEER, Pair
from tests.lab.processes import wait_until


def connections(client: Irosh) -> list[dict[str, object]]:
    """Those of the client's running node."""
    found: list[dict[str, object]] = client.call("status")["connections"]
    return found


def test_without_a_node_there_is_nothing_to_ask(loopback_pair: Pair) -> None:
    for command in ("check", "exit", "stop"):
        done = loopback_pair.client.run("connect", "-O", command, PEER)
        assert done.returncode == 255
        assert b"no node is running" in done.stderr


def test_a_further_command_shares_the_connection(loopback_pair: Pair) -> None:
    client = loopback_pair.client
    with client.start("connect", PEER, "cat", stdin=-1) as first:
        first.wait_event("connected")
        assert client.run("connect", "-O", "check", PEER).stdout == f"Master running (pid={first.pid})\n".encode()
        assert client.run("connect", PEER, "echo shared").stdout == b"shared\n"
        with client.start("connect", "--session", "one", PEER, "sleep 300") as second:
            second.wait_event("session")
            assert len(connections(client)) == 1
        client.call("session", "kill", PEER, "one")


def test_exit_ends_all_that_uses_it_but_not_sessions_that_stay(loopback_pair: Pair) -> None:
    client = loopback_pair.client
    with (
        client.start("connect", PEER, "sleep 300") as shell,
        client.start("connect", "--session", "stays", PEER, "sleep 300") as session,
        client.start("tunnel", "open", PEER, "--map", "tcp://127.0.0.1:22=0") as tunnel,
    ):
        shell.wait_event("connected")
        session.wait_event("session")
        tunnel.wait_event("ready")
        done = client.run("connect", "-O", "exit", PEER)
        assert (done.returncode, done.stdout) == (0, b"Exit request sent.\n"), done.stderr
        for process in (shell, session, tunnel):
            assert process.wait_failure()["code"] == "closed"
    assert [each["name"] for each in client.call("session", "list", PEER)["sessions"]] == ["stays"]
    client.call("session", "kill", PEER, "stays")


def test_stop_leaves_what_there_is_and_has_others_connect_anew(loopback_pair: Pair) -> None:
    client = loopback_pair.client
    with client.start("connect", PEER, "cat", stdin=-1) as first:
        first.wait_event("connected")
        assert client.run("connect", "-O", "stop", PEER).returncode == 0
        assert client.run("connect", "-O", "check", PEER).returncode == 255
        with client.start("connect", PEER, "cat", stdin=-1) as second:
            second.wait_event("connected")
            assert client.run("connect", "-O", "check", PEER).returncode == 0
            _, new = connections(client)
            assert first.process.stdin is not None
            first.process.stdin.close()
            first.wait_event("waiting")
            # The node is of the first command, which waits for the second.
            wait_until(lambda: len(connections(client)) == 1, what="the old connection has ended")
            assert connections(client)[0]["since"] == new["since"]
            assert client.run("connect", "-O", "exit", PEER).returncode == 0
            wait_until(lambda: not second.running, what="the second has ended")
