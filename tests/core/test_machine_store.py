"""What is remembered of gateways: bounded, plain, and never in the way of a peer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.gateway_list import list_digest
from irosh.core.identity import Identity
from irosh.core.machine_store import MAX_KEPT
from irosh.core.petname import valid_petname
from irosh.core.trust import TrustStore
from tests.support.clock import Clock

URL = "ssh://root@10.0.0.5"


def gateway(store: TrustStore, name: str, *machines: str) -> str:
    peer_id = Identity.generate().id
    store.pin(peer_id, petname=name, origin="manual")
    store.machines.remember(peer_id, dict.fromkeys(machines, URL))
    return peer_id


def targets(store: TrustStore) -> list[str]:
    return [machine.target for machine in store.machines.all()]


def test_the_newest_list_counts(store: TrustStore, clock: Clock) -> None:
    peer_id = gateway(store, "server", "printer", "switch")
    assert targets(store) == ["printer", "switch"]
    clock.now += 60
    store.machines.confirm(peer_id)
    assert {machine.shown_at for machine in store.machines.all()} == {clock.now}
    store.machines.remember(peer_id, {"switch": "ssh://10.0.0.6"})
    (machine,) = store.machines.named("SWITCH")
    assert (machine.gateway_id, machine.gateway, machine.url) == (peer_id, "server", "ssh://10.0.0.6")
    assert store.machines.digest(peer_id) == list_digest({"switch": "ssh://10.0.0.6"})
    store.machines.remember(peer_id, {})
    assert (targets(store), store.machines.digest(peer_id)) == ([], b"")


def test_a_peer_goes_before_a_machine_and_a_name_of_two_means_neither(store: TrustStore) -> None:
    gateway(store, "one", "Laptop", "printer", "one")
    gateway(store, "two", "PRINTER", "switch")
    store.pin(Identity.generate().id, petname="laptop", origin="manual")
    assert targets(store) == ["one/Laptop", "one/one", "one/printer", "two/PRINTER", "switch"]
    with pytest.raises(IroshError, match="several gateways show printer") as caught:
        store.machines.meant("printer")
    assert (caught.value.code, caught.value.hint) == (
        ErrorCode.UNKNOWN_TARGET,
        "say which: one/printer or two/PRINTER",
    )
    found = store.machines.meant("TWO/printer")
    assert found is not None
    assert found.full_name == "two/PRINTER"
    assert store.machines.meant("three/printer") is None


def test_who_is_no_peer_any_more_shows_nothing(store: TrustStore, clock: Clock) -> None:
    forgotten, revoked, blocked, expired = (gateway(store, name, name * 2) for name in ("aq", "bq", "cq", "dq"))
    assert targets(store) == ["aqaq", "bqbq", "cqcq", "dqdq"]
    store.remove(forgotten)
    store.revoke(revoked)
    store.block(blocked)
    store.set_expiry(expired, clock.now)
    assert targets(store) == []
    assert store.machines.named("aqaq") == store.machines.named("dqdq") == []
    store.pin(forgotten, petname="again", origin="manual")
    assert targets(store) == [], "what it showed was forgotten with it"
    store.machines.remember(Identity.generate().id, {"stranger": URL})
    assert targets(store) == []


def test_a_list_without_end_is_cut(store: TrustStore) -> None:
    gateway(store, "server", *(f"m{number:05}" for number in range(MAX_KEPT * 3)))
    kept = store.machines.all()
    assert (len(kept), kept[-1].name) == (MAX_KEPT, f"m{MAX_KEPT - 1:05}")


@settings(max_examples=30)
@given(entries=st.dictionaries(st.text(max_size=70), st.sampled_from([URL, "ssh://h\n", "http://h", "ssh://a b"])))
def test_any_list_leaves_plain_names_only(tmp_path_factory: pytest.TempPathFactory, entries: dict[str, str]) -> None:
    with TrustStore(tmp_path_factory.getbasetemp() / "any-list.db") as store:
        peer_id = gateway(store, "server")
        store.machines.remember(peer_id, entries)
        for machine in store.machines.all():
            assert valid_petname(machine.name)
            assert machine.url == entries[machine.name].strip()
        store.remove(peer_id)
