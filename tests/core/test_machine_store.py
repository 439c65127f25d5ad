"""What is remembered of gateways: bounded, plain, and never in the way of a peer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.gateway_list import list_digest
from irosh.core.identity import Identity
from irosh.core.machine_store import MAX_KEPT
from irosh.core.petname import valid_petname
from irosh.core.trust import TrustStore

URL = "ssh://root@10.0.0.5"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def trust(tmp_path: Path, clock: Clock) -> Iterator[TrustStore]:
    with TrustStore(tmp_path / "irosh.db", clock=clock) as store:
        yield store


def gateway(trust: TrustStore, name: str, *machines: str) -> str:
    peer_id = Identity.generate().id
    trust.pin(peer_id, petname=name, origin="manual")
    trust.machines.remember(peer_id, dict.fromkeys(machines, URL))
    return peer_id


def targets(trust: TrustStore) -> list[str]:
    return [machine.target for machine in trust.machines.all()]


def test_the_newest_list_counts(trust: TrustStore, clock: Clock) -> None:
    peer_id = gateway(trust, "server", "printer", "switch")
    assert targets(trust) == ["printer", "switch"]
    clock.now += 60
    trust.machines.confirm(peer_id)
    assert {machine.shown_at for machine in trust.machines.all()} == {1060.0}
    trust.machines.remember(peer_id, {"switch": "ssh://10.0.0.6"})
    (machine,) = trust.machines.named("SWITCH")
    assert (machine.gateway_id, machine.gateway, machine.url) == (peer_id, "server", "ssh://10.0.0.6")
    assert trust.machines.digest(peer_id) == list_digest({"switch": "ssh://10.0.0.6"})
    trust.machines.remember(peer_id, {})
    assert (targets(trust), trust.machines.digest(peer_id)) == ([], b"")


def test_a_peer_goes_before_a_machine_and_a_name_of_two_means_neither(trust: TrustStore) -> None:
    gateway(trust, "one", "Laptop", "printer", "one")
    gateway(trust, "two", "PRINTER", "switch")
    trust.pin(Identity.generate().id, petname="laptop", origin="manual")
    assert targets(trust) == ["one/Laptop", "one/one", "one/printer", "two/PRINTER", "switch"]
    with pytest.raises(IroshError, match="several gateways show printer") as caught:
        trust.machines.meant("printer")
    assert (caught.value.code, caught.value.hint) == (
        ErrorCode.UNKNOWN_TARGET,
        "say which: one/printer or two/PRINTER",
    )
    found = trust.machines.meant("TWO/printer")
    assert found is not None
    assert found.full_name == "two/PRINTER"
    assert trust.machines.meant("three/printer") is None


def test_who_is_no_peer_any_more_shows_nothing(trust: TrustStore, clock: Clock) -> None:
    forgotten, revoked, blocked, expired = (gateway(trust, name, name * 2) for name in ("aq", "bq", "cq", "dq"))
    assert targets(trust) == ["aqaq", "bqbq", "cqcq", "dqdq"]
    trust.remove(forgotten)
    trust.revoke(revoked)
    trust.block(blocked)
    trust.set_expiry(expired, clock.now)
    assert targets(trust) == []
    assert trust.machines.named("aqaq") == trust.machines.named("dqdq") == []
    trust.pin(forgotten, petname="again", origin="manual")
    assert targets(trust) == [], "what it showed was forgotten with it"
    trust.machines.remember(Identity.generate().id, {"stranger": URL})
    assert targets(trust) == []


def test_a_list_without_end_is_cut(trust: TrustStore) -> None:
    gateway(trust, "server", *(f"m{number:05}" for number in range(MAX_KEPT * 3)))
    kept = trust.machines.all()
    assert (len(kept), kept[-1].name) == (MAX_KEPT, f"m{MAX_KEPT - 1:05}")


@settings(max_examples=30)
@given(entries=st.dictionaries(st.text(max_size=70), st.sampled_from([URL, "ssh://h\n", "http://h", "ssh://a b"])))
def test_any_list_leaves_plain_names_only(tmp_path_factory: pytest.TempPathFactory, entries: dict[str, str]) -> None:
    with TrustStore(tmp_path_factory.getbasetemp() / "any-list.db") as trust:
        peer_id = gateway(trust, "server")
        trust.machines.remember(peer_id, entries)
        for machine in trust.machines.all():
            assert valid_petname(machine.name)
            assert machine.url == entries[machine.name].strip()
        trust.remove(peer_id)
