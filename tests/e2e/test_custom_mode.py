"""Mode custom as a script uses it: offers and answers in files, across NATs; what bad ones get."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.coturn import coturn
from tests.lab.host import Host
from tests.lab.irosh_process import Irosh, IroshProcess
from tests.lab.nat import NatKind
from tests.lab.network import Network
from tests.lab.requirements import requires, requires_netns
from tests.lab.topologies import two_nats

pytestmark = [pytest.mark.netns, requires_netns(), requires("turnserver")]


@dataclass(frozen=True)
class Blocks:
    """Where the two sides, which share a disk here, put what a person would carry."""

    offer: Path
    answer: Path

    def flags(self) -> tuple[str, ...]:
        return ("--mode", "custom", "--offer-file", str(self.offer), "--answer-file", str(self.answer))


@contextmanager
def hosting(machine: Host, directory: Path, *flags: str) -> Iterator[tuple[IroshProcess, str, Blocks]]:
    """A host of mode custom, its endpoint id, and its files."""
    blocks = Blocks(directory / "offer", directory / "answer")
    with Irosh(machine, directory / "host").start("host", *blocks.flags(), *flags) as process:
        endpoint_id = str(process.wait_event("ready")["id"])
        process.wait_event("block", kind="offer")
        yield process, endpoint_id, blocks


def test_a_shell_across_two_nats(tmp_path: Path) -> None:
    with Network() as network:
        pair = two_nats(network, NatKind.PORT_RESTRICTED, NatKind.PORT_RESTRICTED)
        with (
            coturn(pair.server) as server,
            hosting(pair.alice.host, tmp_path, "--stun-server", server.stun) as (host, endpoint_id, blocks),
        ):
            client = Irosh(pair.bob.host, tmp_path / "client")
            flags = (*blocks.flags(), "--stun-server", server.stun)
            done = client.run("connect", *flags, "--name", "box", endpoint_id, "echo across; hostname -I")
            assert done.returncode == 0, done.stderr.decode() + host.report()
            assert done.stdout.decode().split() == ["across", *(a for a in pair.alice.host.addresses if ":" not in a)]
            # The invite in the offer made it a peer; now with what the next offer says, and its name.
            host.wait_event("block", kind="offer")
            with client.start("connect", *flags, "box", "cat", stdin=-1) as process:
                assert process.wait_event("connected")["path"] == "direct"


def test_a_host_says_what_it_was_given_and_goes_on(tmp_path: Path) -> None:
    with Network() as network:
        pair = two_nats(network, NatKind.NONE, NatKind.NONE)
        with hosting(pair.alice.host, tmp_path, "--no-stun") as (host, endpoint_id, blocks):
            blocks.answer.write_text(blocks.offer.read_text())
            refused = host.wait_event("block-refused")["error"]
            assert refused["code"] == "block-mismatch"
            assert "own OFFER" in refused["message"]
            client = Irosh(pair.bob.host, tmp_path / "client")
            done = client.run("connect", *blocks.flags(), "--no-stun", "--name", "box", endpoint_id, "echo it works")
            assert done.stdout == b"it works\n", done.stderr.decode() + host.report()


def test_a_client_names_an_offer_of_another_host(tmp_path: Path) -> None:
    with Network() as network:
        pair = two_nats(network, NatKind.NONE, NatKind.NONE)
        with hosting(pair.alice.host, tmp_path, "--no-stun") as (_, endpoint_id, blocks):
            client = Irosh(pair.bob.host, tmp_path / "client")
            other = client.call("identity", "show")["id"]
            third = Irosh(pair.bob.host, tmp_path / "third")
            assert other != endpoint_id
            with third.start("connect", *blocks.flags(), "--no-stun", other, "true") as process:
                refused = process.wait_event("block-refused")["error"]
                assert refused["code"] == "identity-mismatch"
                assert endpoint_id[:10] in refused["message"]
