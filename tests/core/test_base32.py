"""Base32 as tickets and endpoint ids are written in it."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from irosh.core import base32


@given(st.binary(max_size=100))
def test_base32_is_that_of_rfc_4648(data: bytes) -> None:
    text = base32.encode(data)
    assert text == base64.b32encode(data).decode().rstrip("=").lower()
    assert len(text) == base32.encoded_length(len(data))
    assert base32.decode(text) == base32.decode(text.upper()) == data


@given(st.text(base32.ALPHABET, max_size=40))
def test_every_base32_text_is_refused_or_the_only_spelling(text: str) -> None:
    try:
        data = base32.decode(text)
    except base32.Base32Error:
        return
    assert base32.encode(data) == text
