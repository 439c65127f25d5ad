"""What a node binds for what its owner said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.bind_address import ANY_ADDRESS, bind_addresses
from irosh.core.errors import ErrorCode, IroshError


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        (ANY_ADDRESS, ()),
        ("0.0.0.0:4242", ("0.0.0.0:4242", "[::]:4242")),
        ("[::]:4242", ("[::]:4242", "0.0.0.0:4242")),
        ("127.0.0.1:0", ("127.0.0.1:0", "[::1]:0")),
        ("[::1]:7", ("[::1]:7", "127.0.0.1:0")),
        ("192.168.1.5:4242", ("192.168.1.5:4242", "[::1]:0")),
        ("[fd00::1]:4242", ("[fd00::1]:4242", "127.0.0.1:0")),
    ],
)
def test_one_address_means_that_one_only(text: str, bound: tuple[str, ...]) -> None:
    assert bind_addresses(text) == bound


@pytest.mark.parametrize("text", ["", "4242", ":4242", "localhost:1", "1.2.3.4", "1.2.3.4:99999", "::1:5", "1.2.3:5"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(IroshError) as error:
        bind_addresses(text)
    assert error.value.code is ErrorCode.INVALID_ADDRESS
    assert "ADDR:PORT" in error.value.hint


@given(st.text(max_size=40))
def test_arbitrary_text_is_an_address_or_an_error(text: str) -> None:
    try:
        assert len(bind_addresses(text)) in (0, 2)
    except IroshError as error:
        assert error.code is ErrorCode.INVALID_ADDRESS
