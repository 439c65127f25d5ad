"""Addresses to listen on; those to connect to are tested with the capabilities."""

from __future__ import annotations

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.socket_spec import SocketSpec, parse_listen, parse_source


def test_only_an_address_to_listen_on_may_leave_the_port_open() -> None:
    assert parse_listen("tcp://127.0.0.1:0") == SocketSpec("tcp", "127.0.0.1", 0)
    with pytest.raises(IroshError) as failure:
        parse_source("tcp://127.0.0.1:0")
    assert failure.value.code is ErrorCode.INVALID_ADDRESS


@pytest.mark.parametrize("text", ["tcp://127.0.0.1:65536", "udp://127.0.0.1:00", "tcp://127.0.0.1:", "unix://relative"])
def test_everything_else_is_as_strict(text: str) -> None:
    with pytest.raises(IroshError) as failure:
        parse_listen(text)
    assert failure.value.code is ErrorCode.INVALID_ADDRESS


def test_what_is_written_out_reads_the_same() -> None:
    for text in ("tcp://127.0.0.1:80", "udp://[::1]:53", "unix:///run/app.sock"):
        assert parse_listen(text) == parse_source(text)
