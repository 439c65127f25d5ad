"""What hosts announce on their LAN, and what is believed of what others announce."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.endpoint_address import format_socket_address, parse_socket_address
from irosh.core.identity import Identity
from irosh.core.lan_record import MAX_ADDRESSES, decode_record, encode_record, host_name, instance_name

ADDRESSES = st.builds(
    format_socket_address,
    st.ip_addresses(v=4, network="10.0.0.0/8") | st.ip_addresses(v=6, network="2001:db8::/32"),
    st.integers(1, 65_535),
)


@given(st.lists(ADDRESSES, max_size=12, unique=True))
def test_what_is_announced_is_found(addresses: list[str]) -> None:
    record = {key.encode(): value.encode() for key, value in encode_record(addresses).items()}
    assert decode_record(record) == tuple(addresses[:MAX_ADDRESSES])


KEYS = st.sampled_from([f"a{number}".encode() for number in range(12)]) | st.binary(max_size=5)


@given(st.dictionaries(KEYS, st.none() | st.binary(max_size=300) | ADDRESSES.map(str.encode), max_size=30))
def test_whatever_is_announced_only_addresses_are_found(record: dict[bytes, bytes | None]) -> None:
    found = decode_record(record)
    assert len(found) <= MAX_ADDRESSES
    for address in found:
        parse_socket_address(address)


@pytest.mark.parametrize("text", ["0.0.0.0:1", "224.0.0.251:5353", "255.255.255.255:1", "10.0.0.1:0", "x" * 300])
def test_what_no_machine_can_have_is_left_out(text: str) -> None:
    assert decode_record({b"a0": text.encode(), b"a1": b"10.0.0.1:1"}) == ("10.0.0.1:1",)


def test_names_fit_into_labels_and_differ() -> None:
    one, other = Identity.generate().id, Identity.generate().id
    for name in (instance_name(one), host_name(one)):
        assert all(0 < len(label) <= 63 for label in name.removesuffix(".").split("."))
    assert instance_name(one) != instance_name(other)
