"""``--mode iroh-manual`` by the program: blocks in files or pasted, behind NATs, with no third party but STUN."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.coturn import coturn
from tests.lab.irosh_process import Irosh
from tests.lab.machine import LOCAL
from tests.lab.nat import NatKind
from tests.lab.network import Network
from tests.lab.requirements import requires, requires_netns
from tests.lab.topologies import two_nats

MODE = "--mode=iroh-manual"


@contextmanager
def two(directory: Path, host_kind: NatKind, client_kind: NatKind) -> Iterator[tuple[Irosh, Irosh, str]]:
    """A host, a client, and a STUN server."""
    with Network() as network:
        place = two_nats(network, host_kind, client_kind)
        with coturn(place.server) as server:
            yield (
                Irosh(place.alice.host, directory / "host"),
                Irosh(place.bob.host, directory / "client"),
                f"--stun-server={server.stun}",
            )


@pytest.mark.netns
@requires_netns()
@requires("turnserver")
def test_two_people_exchange_files(tmp_path: Path) -> None:
    files = (f"--offer-file={tmp_path / 'offer'}", f"--answer-file={tmp_path / 'answer'}")
    kinds = (NatKind.PORT_RESTRICTED, NatKind.PORT_RESTRICTED)
    with two(tmp_path, *kinds) as (host, client, stun), host.start("host", MODE, stun, *files) as hosting:
        hosting.wait_event("ready")
        done = client.run("connect", MODE, stun, *files, "--name", "box", "-", "echo through")
        assert done.stdout == b"through\n", done.stderr.decode()
        # Pinned now. The answer was for the first offer; this one is for the next.
        done = client.run("connect", MODE, stun, *files, "box", "echo again")
        assert done.stdout == b"again\n", done.stderr.decode()


def test_a_pasted_offer_is_enough_on_one_machine(tmp_path: Path) -> None:
    host, client = Irosh(LOCAL, tmp_path / "host"), Irosh(LOCAL, tmp_path / "client")
    with host.start("host", MODE, "--no-stun", stdin=subprocess.PIPE) as hosting:
        block = str(hosting.wait_event("block", kind="offer")["block"])
        pasted = f"Hi!\n{block}\n".encode()
        done = client.run("connect", MODE, "--no-stun", "--name", "box", "-", "true", stdin=pasted)
        assert done.returncode == 0, done.stderr.decode()
        assert client.call("peer", "list")["peers"][0]["petname"] == "box"
