"""What connects is what theory says: no more pairs are refused, or relayed, than have to be.

A choice of places by default; all of them with ``IROSH_MATRIX=full`` in the environment.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from irosh.core.mode import Mode
from tests.lab.nat import NatKind
from tests.lab.requirements import requires, requires_netns
from tests.matrix.measure import measure
from tests.matrix.places import ALL, PAIRS, place_named
from tests.matrix.table import modes_measured, read
from tests.matrix.theory import Outcome, Place, Side, expected, reaches

WITH_SERVICES = ("port-restricted / port-restricted", "symmetric / symmetric", "behind one symmetric NAT")
CHOSEN = (
    *WITH_SERVICES,
    "symmetric / port-restricted",
    "address-restricted / symmetric",
    "full-cone / symmetric",
    "port-restricted, carrier symmetric / address-restricted",
    "port-restricted / UDP blocked",
    "port-restricted / port-restricted, one carrier without hairpin",
    "port-restricted / port-restricted, one carrier with hairpin",
)
MEASURED = ALL if os.environ.get("IROSH_MATRIX") == "full" else [place_named(name) for name in CHOSEN]


@pytest.mark.netns
@requires_netns()
@requires("turnserver")
@pytest.mark.parametrize("relay", [True, False], ids=["relay", "no-relay"])
@pytest.mark.parametrize("place", MEASURED, ids=lambda place: place.name)
def test_what_connects(place: Place, relay: bool, tmp_path: Path) -> None:
    modes = modes_measured(relay=relay)
    measured = measure(place, tmp_path, relay=relay, modes=modes, services=place.name in WITH_SERVICES)
    print("\n".join(map(str, measured)))
    assert {each.mode: each.outcome for each in measured} == {
        mode: expected(mode, place, relay=relay) for mode in modes
    }


def test_punching_is_as_in_the_books() -> None:
    # RFC 5128, section 3.3, and the table that follows from RFC 4787's terms: only these pairs cannot be punched.
    hopeless = {
        frozenset((NatKind.SYMMETRIC,)),
        frozenset((NatKind.SYMMETRIC, NatKind.PORT_RESTRICTED)),
    }
    for place in PAIRS:
        pair = frozenset((*place.host.nats, *place.client.nats))
        wanted = Outcome.RELAYED if pair in hopeless else Outcome.DIRECT
        for mode in (Mode.IROH_DEFAULT, Mode.CUSTOM, Mode.NOSTR):
            assert expected(mode, place, relay=True) is wanted
        refused = Outcome.REFUSED if pair in hopeless else Outcome.DIRECT
        for mode in (Mode.IROH_MANUAL, Mode.CUSTOM, Mode.NOSTR):
            assert expected(mode, place, relay=False) is refused


def test_who_is_let_in() -> None:
    public, cone, symmetric = Side(), Side((NatKind.PORT_RESTRICTED,)), Side((NatKind.SYMMETRIC,))
    assert reaches(symmetric, public)
    assert reaches(cone, cone)
    assert not reaches(symmetric, cone)
    assert not reaches(cone, symmetric)
    assert not reaches(cone, Side((NatKind.PORT_RESTRICTED, NatKind.SYMMETRIC)))


def test_the_page_says_the_same() -> None:
    assert read() == {
        place.name: {
            (mode, relay): expected(mode, place, relay=relay)
            for relay in (True, False)
            for mode in modes_measured(relay=relay)
        }
        for place in ALL
    }
