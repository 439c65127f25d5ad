"""Who serves an endpoint id, and who hears that it is gone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from irosh.transport.relay.registry import MAX_CORRESPONDENTS, MAX_SAME_ID, Entry, Registry

A, B, C = (bytes((number,)) * 32 for number in (1, 2, 3))


def test_the_newest_connection_serves_and_the_older_takes_over_again() -> None:
    registry: Registry[str] = Registry()
    source = registry.join(B, "b").entry
    assert registry.join(A, "a1").superseded is None
    assert registry.join(A, "a2").superseded == "a1"
    assert registry.join(A, "a3").superseded == "a2"
    assert registry.route(source, A) == "a3"
    assert registry.leave(A, "a1").promoted is None
    assert registry.leave(A, "a3").promoted == "a2"
    assert registry.route(source, A) == "a2"
    assert (len(registry), registry.endpoints) == (2, 2)


def test_unknown_destinations_have_no_route() -> None:
    registry: Registry[str] = Registry()
    source = registry.join(A, "a").entry
    assert registry.route(source, B) is None
    registry.join(B, "b")
    assert registry.route(source, B) == "b"
    registry.leave(B, "b")
    assert registry.route(source, B) is None


def test_both_who_sent_to_it_and_whom_it_sent_to_hear_that_an_endpoint_is_gone() -> None:
    registry: Registry[str] = Registry()
    a, b = registry.join(A, "a").entry, registry.join(B, "b").entry
    registry.join(C, "c")
    registry.route(a, B)
    registry.route(b, C)
    assert set(registry.leave(B, "b").bereaved) == {"a", "c"}
    assert registry.leave(A, "a").bereaved == ()


def test_nobody_is_bereaved_while_another_connection_serves_the_id() -> None:
    registry: Registry[str] = Registry()
    a = registry.join(A, "a").entry
    registry.join(B, "b1")
    registry.join(B, "b2")
    registry.route(a, B)
    assert registry.leave(B, "b2").bereaved == ()
    assert registry.leave(B, "b1").bereaved == ("a",)


def test_an_endpoint_that_sends_to_itself_is_not_its_own_survivor() -> None:
    registry: Registry[str] = Registry()
    entry = registry.join(A, "a").entry
    assert registry.route(entry, A) == "a"
    assert registry.leave(A, "a").bereaved == ()


def test_an_id_holds_a_bounded_number_of_connections() -> None:
    registry: Registry[int] = Registry()
    for number in range(MAX_SAME_ID):
        assert registry.has_room(A)
        registry.join(A, number)
    assert not registry.has_room(A)
    assert registry.has_room(B)


def test_correspondents_are_bounded() -> None:
    registry: Registry[int] = Registry()
    source = registry.join(A, -1).entry
    for number in range(MAX_CORRESPONDENTS + 10):
        registry.join(number.to_bytes(32, "big"), number)
        assert registry.route(source, number.to_bytes(32, "big")) == number
    assert len(source.correspondents) == MAX_CORRESPONDENTS


@given(
    st.lists(st.tuples(st.sampled_from(["join", "leave", "send"]), st.integers(0, 3), st.integers(0, 3)), max_size=60)
)
def test_the_registry_agrees_with_a_plain_model(steps: list[tuple[str, int, int]]) -> None:
    registry: Registry[int] = Registry()
    connections: dict[bytes, list[int]] = {}
    entries: dict[bytes, Entry[int]] = {}
    met: set[frozenset[bytes]] = set()
    serial = 0
    for step, first, second in steps:
        one, other = bytes((first,)) * 32, bytes((second,)) * 32
        mine = connections.get(one, [])
        if step == "join" and registry.has_room(one):
            serial += 1
            joined = registry.join(one, serial)
            assert joined.superseded == (mine[-1] if mine else None)
            entries[one] = joined.entry
            connections.setdefault(one, []).append(serial)
        elif step == "leave" and mine:
            gone = mine.pop(second % len(mine))
            left = registry.leave(one, gone)
            if mine:
                assert left.bereaved == ()
                assert left.promoted == (mine[-1] if gone > mine[-1] else None)
            else:
                del connections[one]
                expected = {connections[peer][-1] for pair in met if one in pair for peer in pair - {one}}
                assert set(left.bereaved) == expected
                met = {pair for pair in met if one not in pair}
        elif step == "send" and mine:
            expected_route = connections[other][-1] if other in connections else None
            assert registry.route(entries[one], other) == expected_route
            if other in connections and one != other:
                met.add(frozenset((one, other)))
        assert len(registry) == sum(map(len, connections.values()))
        assert sorted(registry) == sorted(number for each in connections.values() for number in each)
