"""Targets: what is an endpoint id, a ticket or a petname."""

from __future__ import annotations

import pytest

from irosh.core import base32
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.ticket import Ticket, parse_target
from tests.support.tickets import ID


def test_a_target_can_be_an_endpoint_id() -> None:
    word = base32.encode(bytes.fromhex(ID))
    for text in (ID, ID.upper(), word, word.upper(), f" <{ID}>\n", f'"{word}"'):
        assert parse_target(text) == Ticket(ID)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "berlin",
        "dev-server",
        "irosh",
        "irosh-box",
        "irosh2-box",
        "endpoint",
        "endpoint7",
        "endpoint-of-my-office-in-berlin",
        "blob",
        "deadbeef",
        "a" * 40,
        "a-petname.with-very.many_characters-in.it-but.not-an.id",
    ],
)
def test_other_words_are_petnames(text: str) -> None:
    assert parse_target(text) is None


@pytest.mark.parametrize(
    "text",
    [
        ID[:-1],
        ID + "0",
        ID[:-1] + "x",
        ID[:-1] + "-",
        "0" * 64,
        base32.encode(bytes.fromhex(ID))[:-1],
        base32.encode(bytes.fromhex(ID))[:-1] + "1",
        "blobac2xdg3k7vwsnyrxfmo5fyfnz2lqjq5cgoqyk7lmpmtwhm2cswdsaaaaaaaaaaaaaaaaaa",
    ],
)
def test_broken_endpoint_ids_are_not_taken_for_petnames(text: str) -> None:
    with pytest.raises(IroshError) as caught:
        parse_target(text)
    assert caught.value.code == ErrorCode.UNKNOWN_TARGET
    assert caught.value.hint
