"""What is measured comes near what the network does: delay, loss and rate of a shaped link."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.irosh_process import Irosh
from tests.lab.link import Link
from tests.lab.machine import end_group
from tests.lab.pair import PEER, Pair, pinned_pair
from tests.lab.processes import wait_until
from tests.lab.requirements import requires_netns
from tests.lab.routed import two_machines

pytestmark = [pytest.mark.netns, requires_netns()]


@dataclass(frozen=True)
class Shaped:
    """A host and a client with a router between them; ``link`` is the host's."""

    pair: Pair
    link: Link


@pytest.fixture
def shaped(tmp_path: Path) -> Iterator[Shaped]:
    with two_machines() as place:
        place.host_link.shape(delay=20, rate="16mbit")  # 2 MB a second, with headers
        with pinned_pair(tmp_path, "--no-relay", host_machine=place.host, client_machine=place.client) as pair:
            yield Shaped(pair, place.host_link)


def only(side: Irosh) -> dict[str, Any]:
    """The status of its only connection."""
    connections = side.call("status")["connections"]
    return dict(connections[0]) if connections else {}


@contextlib.contextmanager
def downloading(client: Irosh) -> Iterator[None]:
    """As much as the link takes."""
    process = client.machine.popen(*client.command, "connect", PEER, "cat /dev/zero")
    try:
        yield
    finally:
        end_group(process)


def test_delay_rate_and_loss(shaped: Shaped) -> None:
    host, client = shaped.pair.host, shaped.pair.client
    with downloading(client):
        wait_until(
            lambda: 1.7e6 < only(host).get("send_rate", 0) < 2.05e6, every=1.0, what="the host sends at that rate"
        )
        wait_until(lambda: 1.5e6 < only(client)["receive_rate"] < 2.05e6, what="the client receives at that rate")
        assert 38 <= only(host)["rtt_ms"] <= 200, "packets wait up to 100 ms each way for the rate"
        quiet = only(host)["loss"]

        shaped.link.shape(delay=20, loss=0.05)
        # What was in the queue has gone.
        wait_until(lambda: 38 <= only(host)["rtt_ms"] <= 75, every=1.0, what="the round trip time is that of the link")
        before = only(host)

        def enough() -> dict[str, Any] | None:
            now = only(host)
            return now if now["bytes_sent"] - before["bytes_sent"] > 3_000_000 else None

        after = wait_until(enough, timeout=90, every=1.0, what="enough was sent to say how much is lost")
        lost = (after["bytes_lost"] - before["bytes_lost"]) / (after["bytes_sent"] - before["bytes_sent"])
        assert 0.025 < lost < 0.09  # of some 2,000 packets: five times the standard deviation
        assert quiet < 0.2, "only what the queue has no room for"
        wait_until(lambda: 0.025 < only(host)["loss"] < 0.09, every=1.0, what="the loss is the present one")
        [peer] = host.call("status", "--history")["peers"]
        assert 38 <= peer["total"]["rtt_min_ms"] <= 60
        assert peer["total"]["bytes_sent"] >= after["bytes_sent"]
        text = host.run("metrics").stdout.decode()
        loss = next(line for line in text.splitlines() if line.startswith("irosh_connection_loss_ratio{"))
        assert 0.02 < float(loss.split()[1]) < 0.1
