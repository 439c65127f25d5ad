"""A terminal over a slow link: what is on its way when somebody has seen enough."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.captured import CapturedTerminal
from tests.lab.network import Network
from tests.lab.pair import PEER, pinned_pair
from tests.lab.processes import wait_until
from tests.lab.requirements import requires_netns, requires_shaping

SEEN = 1_500_000  # bytes, more than may be on their way
LITTLE = 800_000  # ssh has 1,040,000 on their way here


@pytest.mark.netns
@requires_netns()
@requires_shaping()
@pytest.mark.parametrize("options", [(), ("--session=kept",)], ids=["plain", "kept"])
def test_little_comes_after_an_interrupt(tmp_path: Path, options: tuple[str, ...]) -> None:
    with Network() as network:
        host, client, router = network.host("host"), network.host("client"), network.router("router")
        network.link(host, router, "10.1.0.0/24").shape(delay=20, rate="10mbit")
        network.link(client, router, "10.2.0.0/24")
        with pinned_pair(tmp_path, "--no-relay", host_machine=host, client_machine=client) as pair:
            command = ("ip", "netns", "exec", client.namespace, *pair.client.command, "connect", *options, PEER)
            with CapturedTerminal(command) as terminal:
                terminal.type("echo ready $((40 + 2)); cat /dev/zero | tr '\\0' x")
                wait_until(lambda: len(terminal.output()) > SEEN, what="much has come")
                terminal.press(b"\x03")
                seen = len(terminal.output())
                terminal.type("echo back $((40 + 2)); exit")
                assert terminal.wait_exit() == 0
                wait_until(lambda: b"back 42" in terminal.output(), what="the shell goes on")
                assert len(terminal.output()) - seen < LITTLE
