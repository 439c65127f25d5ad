"""The body of offers and answers of mode iroh-manual."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.endpoint_address import format_socket_address
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.manual_message import MAX_ADDRESSES, decode_addresses, encode_addresses

ADDRESSES = st.builds(
    format_socket_address,
    st.ip_addresses(v=4, network="10.0.0.0/8") | st.ip_addresses(v=6, network="2001:db8::/32"),
    st.integers(1, 65_535),
)


@given(st.lists(ADDRESSES, max_size=40, unique=True))
def test_what_is_encoded_is_decoded(addresses: list[str]) -> None:
    assert decode_addresses(encode_addresses(addresses)) == tuple(addresses[:MAX_ADDRESSES])


@given(st.binary(max_size=100))
def test_any_bytes_are_addresses_or_an_error(body: bytes) -> None:
    try:
        addresses = decode_addresses(body)
    except IroshError as error:
        assert error.code is ErrorCode.INVALID_BLOCK
        assert error.message.isprintable()
    else:
        assert len(addresses) <= MAX_ADDRESSES


@pytest.mark.parametrize("text", ["0.0.0.0:1", "224.0.0.1:1", "1.2.3.4:0", "host:1", "[fe80::1%eth0]:1", "\x1b[2J"])
def test_an_address_that_cannot_be_dialled_is_refused(text: str) -> None:
    with pytest.raises(IroshError) as error:
        decode_addresses(encode_addresses([text]))
    assert error.value.code is ErrorCode.INVALID_BLOCK
    assert error.value.message.isprintable()
