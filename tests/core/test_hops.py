"""Stations of a way, and lists of gateways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.gateway_list import parse_list
from irosh.core.hops import NamedStop, PeerStop, SshStop, parse_stop, parse_way


@pytest.mark.parametrize(
    ("text", "stop"),
    [
        ("box", PeerStop("box")),
        ("me@box", PeerStop("box", "me")),
        ("ssh://Host", SshStop("host")),
        ("SSH://me@host:2222", SshStop("host", 2222, "me")),
        ("ssh://[::1]:22", SshStop("::1", 22)),
        ("ssh://me@10.0.0.1/", SshStop("10.0.0.1", None, "me")),
        ("me@gw/printer", NamedStop("gw", "printer", "me")),
    ],
)
def test_stations(text: str, stop: object) -> None:
    assert parse_stop(text) == stop


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@box",
        "ssh://",
        "ssh://u:p@h",
        "ssh://-x@h",
        "ssh://h:0",
        "ssh://::1",
        "ssh://h/x",
        "ssh://h:",
        "ssh://[::1",
        "ssh://a b",
    ],
)
def test_what_is_no_station(text: str) -> None:
    with pytest.raises(IroshError) as failure:
        parse_stop(text)
    assert failure.value.code in (ErrorCode.USAGE, ErrorCode.INVALID_ADDRESS)


@given(st.text(max_size=80))
def test_any_text_is_a_station_or_an_error(text: str) -> None:
    for given_text in (text, f"ssh://{text}"):
        try:
            stop = parse_stop(given_text)
        except IroshError:
            continue
        assert parse_stop(str(stop)) == stop or len(str(stop)) < len(given_text)


def test_ways_in_circles_and_long_ways() -> None:
    a, b, c, d = PeerStop("a"), PeerStop("b"), SshStop("c"), PeerStop("d")
    assert parse_way(["a,b", "ssh://c"], d) == (a, b, c, d)
    for hops, target in ((["a,b,A"], "c"), (["a"], "a"), (["ssh://a,ssh://a:22"], "c"), ([",".join("abcdefghi")], "z")):
        with pytest.raises(IroshError) as failure:
            parse_way(hops, PeerStop(target))
        assert failure.value.code is ErrorCode.USAGE


def test_the_way_to_a_name_leads_through_its_gateway() -> None:
    gateway, printer, end = PeerStop("gw"), NamedStop("gw", "printer"), PeerStop("end")
    assert parse_way([], printer) == (gateway, printer)
    assert parse_way(["gw"], printer) == (gateway, printer)
    assert parse_way(["gw/printer"], end) == (gateway, printer, end)
    assert parse_way(["a,gw/printer"], end) == (PeerStop("a"), gateway, printer, end)
    with pytest.raises(IroshError):
        parse_way(["gw/printer"], NamedStop("gw", "switch"))


def test_a_list_of_machines() -> None:
    text = "# machines\n\nprinter ssh://root@10.0.0.5  # old\nswitch\tssh://10.0.0.6:2222\n"
    assert parse_list(text) == {"printer": "ssh://root@10.0.0.5", "switch": "ssh://10.0.0.6:2222"}


@pytest.mark.parametrize(
    "line", ["printer", "a b c", "printer http://x", "a/b ssh://x", "printer ssh://h:0", "x 10.0.0.1"]
)
def test_a_bad_line_is_named(line: str) -> None:
    with pytest.raises(IroshError, match="line 2"):
        parse_list(f"good ssh://h\n{line}\n")


def test_a_name_stands_once() -> None:
    with pytest.raises(IroshError, match="there already"):
        parse_list("a ssh://h\na ssh://g\n")
