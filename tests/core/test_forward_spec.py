"""Forwards as ssh(1) spells them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.forward_spec import (
    KINDS,
    ForwardKind,
    ForwardSpec,
    ForwardSpecError,
    ListenAt,
    parse_forward,
    parse_listen_part,
    parse_stdio_target,
)
from irosh.core.socket_spec import SocketSpec

HERE = "/home/user"
WEB = SocketSpec("tcp", "web", 80)
SIX = SocketSpec("tcp", "::1", 80)


def parse(kind: ForwardKind, text: str) -> ForwardSpec:
    return parse_forward(kind, text, directory=HERE, service_port={"http": 80, "https": 443}.get)


@pytest.mark.parametrize(
    ("kind", "text", "listen", "target"),
    [
        # [bind_address:]port:host:hostport
        ("L", "8080:web:80", ListenAt(None, 8080), WEB),
        ("L", "localhost:8080:web:80", ListenAt(None, 8080), WEB),
        ("L", "127.0.0.2:8080:web:80", ListenAt("127.0.0.2", 8080), WEB),
        ("L", ":8080:web:80", ListenAt("*", 8080), WEB),
        ("L", "*:8080:web:80", ListenAt("*", 8080), WEB),
        ("L", "[::1]:8080:[::1]:80", ListenAt("::1", 8080), SIX),
        ("L", "8080:[::1]:80", ListenAt(None, 8080), SIX),
        ("L", "8080:[web]:80", ListenAt(None, 8080), WEB),
        ("L", "[8080]:web:80", ListenAt(None, 8080), WEB),
        ("L", "0:web:80", ListenAt(None, 0), WEB),
        ("L", "http:web:http", ListenAt(None, 80), WEB),
        ("L", "8080:WEB:80", ListenAt(None, 8080), WEB),
        ("L", "8080:192.0.2.1:80", ListenAt(None, 8080), SocketSpec("tcp", "192.0.2.1", 80)),
        # with paths
        ("L", "8080:/run/app.sock", ListenAt(None, 8080), SocketSpec("unix", path="/run/app.sock")),
        ("L", "*:8080:/run/app.sock", ListenAt("*", 8080), SocketSpec("unix", path="/run/app.sock")),
        ("L", "/run/here.sock:web:80", ListenAt(path="/run/here.sock"), WEB),
        ("L", "./here.sock:web:80", ListenAt(path="/home/user/here.sock"), WEB),
        ("L", "../here.sock:web:80", ListenAt(path="/home/here.sock"), WEB),
        ("L", "/a.sock:/b.sock", ListenAt(path="/a.sock"), SocketSpec("unix", path="/b.sock")),
        ("L", r"/a\:b.sock:web:80", ListenAt(path="/a:b.sock"), WEB),
        ("L", "[/a:b.sock]:web:80", ListenAt(path="/a:b.sock"), WEB),
        ("R", "/there.sock:./here.sock", ListenAt(path="/there.sock"), SocketSpec("unix", path=f"{HERE}/here.sock")),
        # SOCKS
        ("D", "1080", ListenAt(None, 1080), None),
        ("D", "0", ListenAt(None, 0), None),
        ("D", "*:1080", ListenAt("*", 1080), None),
        ("D", ":1080", ListenAt("*", 1080), None),
        ("D", "[::1]:1080", ListenAt("::1", 1080), None),
        ("D", "/run/socks.sock", ListenAt(path="/run/socks.sock"), None),
        ("R", "1080", ListenAt(None, 1080), None),
        ("R", "0", ListenAt(None, 0), None),
        ("R", "10.0.0.1:1080", ListenAt("10.0.0.1", 1080), None),
        ("R", "8080:web:80", ListenAt(None, 8080), WEB),
        ("R", "0:web:80", ListenAt(None, 0), WEB),
        # the older way to write IPv6
        ("L", "8080/::1/80", ListenAt(None, 8080), SIX),
        ("L", "::1/8080/::1/80", ListenAt("::1", 8080), SIX),
        ("L", "8080/web/80", ListenAt(None, 8080), WEB),
        ("D", "::1/1080", ListenAt("::1", 1080), None),
        # which these are not
        ("L", "8080:/1/x/0", ListenAt(None, 8080), SocketSpec("unix", path="/1/x/0")),
        ("L", "8080:/80", ListenAt(None, 8080), SocketSpec("unix", path="/80")),
        ("D", "1/x/2", ListenAt(path=f"{HERE}/1/x/2"), None),
    ],
)
def test_what_openssh_takes(kind: ForwardKind, text: str, listen: ListenAt, target: SocketSpec | None) -> None:
    assert parse(kind, text) == ForwardSpec(kind, listen, target)


@pytest.mark.parametrize(
    ("kind", "text", "at", "message"),
    [
        ("L", "", "", "empty"),
        ("L", "8080", "8080", "where to"),
        ("L", "8080:web", "8080:web", "no port behind the host"),
        ("L", "*:8080", "*:8080", "where to"),
        ("L", "8080:web:", "8080:web:", "port is missing"),
        ("L", "8080:web:8o", "8080:web:8", "'8o' is not a port"),
        ("L", "808x:web:80", "808", "'808x' is not a port"),
        ("L", "8080:web:0", "8080:web:", "out of range"),
        ("L", "8080:web:65536", "8080:web:", "out of range"),
        ("L", "99999999999999999999:web:80", "", "out of range"),
        ("L", "8080::80", "8080:", "host is missing"),
        ("L", "8080:::1:80", "8080:::1:", "too many"),
        ("L", "a:8080:web:80:x", "a:8080:web:80:", "too many"),
        ("L", "8080:[::1:80", "8080:", "not closed"),
        ("L", "8080:[::1]80", "8080:[::1]", "only ':'"),
        ("L", "8080:[::g]:80", "8080:[", "not an IPv6"),
        ("L", "8080:we b:80", "8080:", "not a host name"),
        ("L", "8080:web:80\\", "8080:web:80", "backslash"),
        ("L", "8080:run/app.sock", "8080:", "not absolute"),
        ("L", "8080:/run/../app.sock", "8080:", "'..'"),
        ("L", "8080:/run/", "8080:", "directory"),
        ("L", "8080:/run/app.sock:80", "8080:/run/app.sock:", "nothing can follow"),
        ("D", "1080:web:80", "1080:", "takes no target"),
        ("D", "x", "", "'x' is not a port"),
        ("R", "1080:web", "1080:", "not a port"),
    ],
)
def test_errors_point_at_the_character(kind: ForwardKind, text: str, at: str, message: str) -> None:
    with pytest.raises(ForwardSpecError) as caught:
        parse(kind, text)
    error = caught.value
    assert error.code is ErrorCode.INVALID_ADDRESS
    assert message in error.message
    assert (text[: error.column], error.column) == (at, len(at))
    assert f"character {len(at) + 1}:" in error.message


def test_the_caret_stands_below_the_character() -> None:
    with pytest.raises(ForwardSpecError) as caught:
        parse("L", "80\x1b80:web:80")
    assert caught.value.pointed() == "80\\x1b80:web:80\n  ^"


def test_the_listening_part_alone() -> None:
    assert parse_listen_part("L", "8080", directory=HERE) == ListenAt(None, 8080)
    assert parse_listen_part("R", "*:8080", directory=HERE) == ListenAt("*", 8080)
    assert parse_listen_part("L", "./x", directory=HERE) == ListenAt(path=f"{HERE}/x")
    with pytest.raises(ForwardSpecError, match="too much"):
        parse_listen_part("L", "8080:web:80", directory=HERE)


def test_the_target_of_stdio() -> None:
    assert parse_stdio_target("web:80") == WEB
    assert parse_stdio_target("[::1]:80") == SIX
    assert parse_stdio_target("/run/app.sock") == SocketSpec("unix", path="/run/app.sock")
    for text in ("web", "web:", ":80", "a:b:80", "[::1]"):
        with pytest.raises(ForwardSpecError):
            parse_stdio_target(text)


PORTS = st.integers(1, 65_535)
NAMES = st.from_regex(r"[a-z]([a-z0-9]{0,8}\.[a-z])?", fullmatch=True)
HOSTS = st.one_of(NAMES, st.ip_addresses(v=4).map(str), st.sampled_from(["::1", "fd00::5", "2001:db8::1"]))
PATHS = st.from_regex(r"(/[a-z0-9._-]*[a-z0-9]){1,3}", fullmatch=True)
LISTENS = st.one_of(
    st.builds(ListenAt, st.one_of(st.none(), st.just("*"), HOSTS.filter(lambda host: host != "localhost")), PORTS),
    st.builds(lambda path: ListenAt(path=path), PATHS),
)
TARGETS = st.one_of(
    st.builds(lambda host, port: SocketSpec("tcp", host, port), HOSTS, PORTS),
    st.builds(lambda path: SocketSpec("unix", path=path), PATHS),
)


@given(st.sampled_from(KINDS), LISTENS, st.one_of(st.none(), TARGETS))
def test_text_and_value_are_the_same(kind: ForwardKind, listen: ListenAt, target: SocketSpec | None) -> None:
    spec = ForwardSpec(kind, listen, None if kind == "D" else target if target or kind == "R" else WEB)
    assert parse(kind, str(spec)) == spec


@given(st.sampled_from(KINDS), st.one_of(st.text(max_size=60), st.text("[]:/\\*.a0198 ", max_size=30)))
def test_any_text_is_read_or_refused_at_a_place_inside_it(kind: ForwardKind, text: str) -> None:
    try:
        spec = parse(kind, text)
    except ForwardSpecError as error:
        assert 0 <= error.column <= len(text)
        assert error.message.isprintable()
        assert error.pointed().count("\n") == 1
    else:
        assert parse(kind, str(spec)) == spec


def test_an_endless_text_is_refused() -> None:
    with pytest.raises(IroshError, match="longer than"):
        parse("L", "8" * 1_000_000)
