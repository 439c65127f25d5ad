"""Text forms of capabilities and of socket addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.capability import (
    DEFAULT_INVITE_CAPABILITIES,
    SocketSpec,
    parse_capabilities,
    parse_capability,
    parse_source,
)
from irosh.core.errors import ErrorCode, IroshError

CANONICAL = [
    "shell",
    "exec",
    "files",
    "files:/srv/share",
    "files:/srv/share:ro",
    "files:/",
    "files:/:ro",
    "all",
    "user:alice",
    "user:svc_web-1",
    "user:CORP\\alice",
    "user:machine$",
    "user:*",
    "forward:tcp://127.0.0.0/8:*",
    "forward:udp://10.0.0.0/8:53",
    "forward:tcp://10.1.2.3:1-65535",
    "forward:tcp://0.0.0.0/0:443",
    "forward:tcp://[::1]:8000-8100",
    "forward:tcp://[fd00::/8]:22",
    "forward:tcp://[::/0]:*",
    "forward:tcp://db.internal:5432",
    "forward:tcp://xn--bcher-kva.example:80",
    "forward:tcp://*:443",
    "forward:unix:///run/*.sock",
    "forward:unix:///srv/**/app.sock",
    "listen:tcp://127.0.0.1:*",
    "listen:tcp://0.0.0.0:8080",
    "listen:udp://[::]:53",
    "listen:unix:///tmp/x/*",
]


@pytest.mark.parametrize("text", CANONICAL)
def test_canonical_text_is_kept(text: str) -> None:
    assert str(parse_capability(text)) == text


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("forward:tcp://DB.Internal.:5432", "forward:tcp://db.internal:5432"),
        ("forward:tcp://10.0.0.1/32:022", "forward:tcp://10.0.0.1:22"),
        ("forward:tcp://10.0.0.1:80-80", "forward:tcp://10.0.0.1:80"),
        ("forward:tcp://[0:0::0001]:*", "forward:tcp://[::1]:*"),
        ("forward:tcp://[::ffff:10.0.0.0/104]:*", "forward:tcp://10.0.0.0/8:*"),
        ("forward:tcp://[::ffff:127.0.0.1]:*", "forward:tcp://127.0.0.1:*"),
        ("forward:unix:///run//./app.sock", "forward:unix:///run/app.sock"),
        ("files://srv/./share/:ro", "files:/srv/share:ro"),
    ],
)
def test_other_spellings_become_canonical(text: str, canonical: str) -> None:
    assert parse_capability(text) == parse_capability(canonical)
    assert str(parse_capability(text)) == canonical


@pytest.mark.parametrize(
    ("text", "at_fault", "hint"),
    [
        ("", "empty", "shell"),
        ("shel", "'shel'", "did you mean 'shell'?"),
        ("Shell", "'Shell'", "did you mean 'shell'?"),
        ("forwrad:tcp://*:1", "'forwrad'", "did you mean 'forward'?"),
        ("shell:x", "'shell' takes nothing", "write shell"),
        ("user", "''", "user:NAME"),
        ("user:-x", "'-x'", "user:NAME"),
        ("user:a b", "'a b'", "user:NAME"),
        ("forward", "which addresses", "forward:tcp://127.0.0.0/8:*"),
        ("forward:127.0.0.1:22", "tcp://, udp:// or unix://", "tcp://127.0.0.1:22"),
        ("forward:tpc://127.0.0.1:22", "'tpc'", "did you mean 'tcp'?"),
        ("forward:tcp://127.0.0.0/8", "no port", "forward:tcp://127.0.0.0/8:*"),
        ("forward:tcp://[::1]", "no port", "forward:tcp://[::1]:*"),
        ("forward:tcp://:22", "host is missing", "127.0.0.1"),
        ("forward:tcp://a:", "port is missing", "1 to 65535"),
        ("forward:tcp://a:0", "port 0", "1 to 65535"),
        ("forward:tcp://a:65536", "port 65536", "1 to 65535"),
        ("forward:tcp://a:http", "'http'", "1 to 65535"),
        ("forward:tcp://a:9-8", "'9-8' runs backwards", "8-9"),
        ("forward:tcp://10.0.0.5/8:*", "'10.0.0.5/8'", "10.0.0.0/8 for the whole network or 10.0.0.5"),
        ("forward:tcp://[fd00::5/8]:*", "'fd00::5/8'", "fd00::/8 for the whole network or fd00::5"),
        ("forward:tcp://10.0.0.0/33:*", "'33'", ""),
        ("forward:tcp://10.0.0.0/255.0.0.0:*", "'255.0.0.0'", ""),
        ("forward:tcp://fd00::/8:*", "several colons", "brackets"),
        ("forward:tcp://[10.0.0.1]:*", "'10.0.0.1' is not an IPv6", "[::1]"),
        ("forward:tcp://[fe80::1%eth0]:*", "zone", "leave out %"),
        ("forward:tcp://0.0.0.0:80", "no address to connect to", "127.0.0.0/8"),
        ("forward:tcp://[::]:80", "no address to connect to", "127.0.0.0/8"),
        ("forward:tcp://*.internal:22", "more than one host", "in full"),
        ("forward:tcp://127.1:22", "'127.1'", "127.0.0.1"),
        ("forward:tcp://0177.0.0.1:22", "'0177.0.0.1'", "127.0.0.1"),
        ("forward:tcp://2130706433:22", "'2130706433'", "127.0.0.1"),
        ("forward:tcp://0x7f000001:22", "'0x7f000001'", "127.0.0.1"),
        ("forward:tcp://127.0.0.1.:22", "'127.0.0.1.'", "127.0.0.1"),
        ("forward:tcp://\N{FULLWIDTH DIGIT ONE}27.0.0.1:22", "not ASCII", "xn--"),
        ("files:", "'' is not absolute", ""),
        ("files:srv", "'srv' is not absolute", "files:/srv"),
        ("files:/srv/../etc", "'..'", "without it"),
        ("files:/srv:ro:ro", "':ro'", ""),
        ("files:/srv/\x1b", r"/srv/\x1b", ""),
        ("files:/" + "x" * 4190, "longer than", ""),
        ("forward:unix://run/x", "'run/x' is not absolute", "unix:///run/x"),
        ("forward:unix:///run/../x", "'..'", "without it"),
        ("forward:unix:///run/", "directory", "socket"),
        ("forward:unix:///run/a**", "'a**'", "segment of its own"),
        ("forward:unix:///run/a\nb", r"/run/a\nb", ""),
        ("forward:unix:///" + "x" * 5000, "longer than", ""),
    ],
)
def test_errors_name_the_part_at_fault_and_help(text: str, at_fault: str, hint: str) -> None:
    with pytest.raises(IroshError) as caught:
        parse_capability(text)
    assert caught.value.code == ErrorCode.INVALID_CAPABILITY
    assert at_fault in caught.value.message
    assert hint in caught.value.hint


def test_messages_show_hostile_text_escaped_and_short() -> None:
    for text in ("\x1b[2Jshell", "user:\N{RIGHT-TO-LEFT OVERRIDE}x", "forward:tcp://\x07", "x" * 100_000):
        with pytest.raises(IroshError) as caught:
            parse_capability(text)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 600


def test_several_are_kept_in_order_and_once() -> None:
    parsed = parse_capabilities(["files", "shell", "files", "forward:tcp://A:1", "forward:tcp://a.:1-1"])
    assert [str(capability) for capability in parsed] == ["files", "shell", "forward:tcp://a:1"]


def test_the_default_of_an_invite_is_canonical() -> None:
    parsed = parse_capabilities(DEFAULT_INVITE_CAPABILITIES)
    assert tuple(str(capability) for capability in parsed) == DEFAULT_INVITE_CAPABILITIES


hosts = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda ip: f"[{ip}]"),
    st.from_regex(r"[a-zA-Z][a-zA-Z0-9-]{0,10}[a-zA-Z](\.[a-z]{1,5})?\.?", fullmatch=True),
)
ports = st.integers(1, 65_535)
paths = st.from_regex(r"(/[a-z.*?_ -]{0,4}){1,4}", fullmatch=True)
names = st.from_regex(r"[a-z_][a-z0-9_-]{0,8}", fullmatch=True)
# Text that gets deep into the parsers more often than arbitrary text does.
nearly = st.lists(
    st.sampled_from(
        [
            *CANONICAL,
            "forward:",
            "listen:",
            "tcp://",
            "udp://",
            "unix:///",
            "[",
            "]",
            ":",
            "*",
            "/",
            "%",
            "-",
            "..",
            "127.0.0.1",
            "::1",
            "fe80::",
            "::ffff:0:0/96",
            "/8",
            "/129",
            "0",
            "65536",
            "0x1",
            "db",
            "\0",
            "\ud800",
        ]
    ),
    max_size=6,
).map("".join)


@given(st.one_of(st.text(max_size=60), nearly, st.builds("forward:tcp://{}:{}".format, hosts, ports)))
def test_any_text_parses_and_comes_back_or_is_an_irosh_error(text: str) -> None:
    try:
        capability = parse_capability(text)
    except IroshError as error:
        assert error.code == ErrorCode.INVALID_CAPABILITY
        assert error.message.isprintable()
    else:
        assert parse_capability(str(capability)) == capability
        assert "\n" not in str(capability)
        assert str(capability).encode()


@given(
    st.sampled_from(["forward", "listen"]),
    st.sampled_from(["tcp", "udp"]),
    hosts.filter(lambda host: host not in ("0.0.0.0", "[::]", "[::ffff:0:0]", "[::ffff:0.0.0.0]")),
    ports,
    ports,
)
def test_socket_capabilities_round_trip(kind: str, protocol: str, host: str, one: int, other: int) -> None:
    first, last = sorted((one, other))
    capability = parse_capability(f"{kind}:{protocol}://{host}:{first}-{last}")
    assert (capability.kind, capability.protocol, capability.ports) == (kind, protocol, (first, last))
    assert parse_capability(str(capability)) == capability


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("tcp://127.0.0.1:22", SocketSpec("tcp", "127.0.0.1", 22)),
        ("tcp://LocalHost.:22", SocketSpec("tcp", "localhost", 22)),
        ("udp://[::1]:53", SocketSpec("udp", "::1", 53)),
        ("udp://[FE80::1%eth0.5]:53", SocketSpec("udp", "fe80::1%eth0.5", 53)),
        ("tcp://[::ffff:127.0.0.1]:22", SocketSpec("tcp", "127.0.0.1", 22)),
        ("unix:///run//x.sock", SocketSpec("unix", path="/run/x.sock")),
    ],
)
def test_sources(text: str, spec: SocketSpec) -> None:
    assert parse_source(text) == spec
    assert parse_source(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "at_fault", "hint"),
    [
        ("127.0.0.1:22", "tcp://, udp:// or unix://", "tcp://127.0.0.1:22"),
        ("/run/x.sock", "tcp://, udp:// or unix://", "unix:///"),
        ("http://a:1", "'http'", "tcp"),
        ("tcp://localhost", "no port", "localhost:PORT"),
        ("tcp://::1:22", "several colons", "[::1]:22"),
        ("tcp://[::1:22", "not closed", "[::1]:22"),
        ("tcp://[::1]22", "no port after", "[::1]:22"),
        ("tcp://*:22", "'*' does not name one host", "one address"),
        ("tcp://10.0.0.0/8:22", "'10.0.0.0/8'", "one address"),
        ("tcp://a:0", "port 0", "1 to 65535"),
        ("tcp://a:1-2", "'1-2'", "1 to 65535"),
        ("tcp://user@a:1", "'user@a'", "letters"),
        ("tcp://0x7f.1:22", "'0x7f.1'", "127.0.0.1"),
        ("tcp://[::1%lo]:22", "not link-local", "leave out %"),
        ("tcp://[fe80::1%a b]:22", "'fe80::1%a b'", ""),
        ("unix:///run/../x", "'..'", ""),
        ("unix://", "not absolute", ""),
    ],
)
def test_source_errors(text: str, at_fault: str, hint: str) -> None:
    with pytest.raises(IroshError) as caught:
        parse_source(text)
    assert caught.value.code == ErrorCode.INVALID_ADDRESS
    assert at_fault in caught.value.message
    assert hint in caught.value.hint


@given(
    st.one_of(
        st.text(max_size=40),
        nearly,
        st.builds("{}://{}:{}".format, st.sampled_from(["tcp", "udp"]), hosts, ports),
        st.builds("unix://{}".format, paths),
    )
)
def test_any_source_parses_and_comes_back_or_is_an_irosh_error(text: str) -> None:
    try:
        spec = parse_source(text)
    except IroshError as error:
        assert error.code == ErrorCode.INVALID_ADDRESS
        assert error.message.isprintable()
    else:
        assert parse_source(str(spec)) == spec


@given(names)
def test_user_names(name: str) -> None:
    assert parse_capability(f"user:{name}").user == name
