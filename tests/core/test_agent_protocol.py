"""Messages between a client and an ssh-agent."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.agent_protocol import (
    FAILURE,
    LIST,
    MAX_MESSAGE,
    SESSION_BIND,
    AgentKey,
    is_harmless,
    message_length,
    parse_keys,
    signing_key,
)
from irosh.core.ssh_wire import SshWireError, string


def test_requests_are_told_apart() -> None:
    sign = bytes([13]) + string(b"key") + string(b"data") + bytes(4)
    assert signing_key(sign) == b"key"
    assert signing_key(LIST[4:]) is None
    assert is_harmless(LIST[4:])
    assert is_harmless(bytes([27]) + string(SESSION_BIND) + b"rest")
    for request in (sign, bytes([27]) + string(b"other@example"), bytes([17]), bytes([18]), bytes([19]), bytes([22])):
        assert not is_harmless(request)
    assert FAILURE == b"\0\0\0\1\5"


@given(st.lists(st.tuples(st.binary(max_size=40), st.text(max_size=20)), max_size=10))
def test_keys_are_read(keys: list[tuple[bytes, str]]) -> None:
    body = bytes([12]) + len(keys).to_bytes(4, "big")
    body += b"".join(string(blob) + string(comment.encode()) for blob, comment in keys)
    assert parse_keys(body) == [AgentKey(blob, comment) for blob, comment in keys]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_an_error(body: bytes) -> None:
    for read in (parse_keys, signing_key, is_harmless):
        with suppress(SshWireError):
            read(body)


@pytest.mark.parametrize("length", [0, MAX_MESSAGE + 1, 0xFFFF_FFFF])
def test_lengths_have_limits(length: int) -> None:
    with pytest.raises(SshWireError):
        message_length(length.to_bytes(4, "big"))
