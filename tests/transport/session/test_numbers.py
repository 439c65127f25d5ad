"""Which streams have been seen: each number once, whatever the order, within bounded memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.transport.session import numbers as module
from irosh.transport.session.numbers import SeenNumbers


@given(st.integers(0, 1), st.lists(st.integers(0, 60), max_size=120))
def test_each_number_of_the_peers_is_new_once(first: int, arriving: list[int]) -> None:
    seen = SeenNumbers(first)
    model: set[int] = set()
    for number in arriving:
        new = number % 2 == first and number not in model
        assert seen.may_come(number) == new
        assert seen.add(number) == new
        if new:
            model.add(number)
        assert not seen.may_come(number)


@given(st.permutations(range(0, 80, 2)))
def test_in_whatever_order_all_are_seen_nothing_is_kept(order: list[int]) -> None:
    seen = SeenNumbers(0)
    assert all(seen.add(number) for number in order)
    assert not seen._beyond
    assert seen.add(80)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=200))
def test_memory_is_bounded_and_no_number_is_new_twice(arriving: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_GAPS", 8)
        seen = SeenNumbers(0)
        new = [number for number in arriving if seen.add(number)]
        assert len(new) == len(set(new))
        assert len(seen._beyond) <= 8


def test_a_number_that_never_comes_does_not_keep_the_later_ones_for_ever() -> None:
    seen = SeenNumbers(1)
    for number in range(3, 3 + 2 * module.MAX_GAPS, 2):
        assert seen.add(number)
    assert len(seen._beyond) == module.MAX_GAPS
    assert seen.add(3 + 2 * module.MAX_GAPS)
    assert not seen._beyond
    assert not seen.add(1)  # taken for seen
