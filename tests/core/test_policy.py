"""What capabilities permit: above all, what they do not."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import translate
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from re import fullmatch
from time import perf_counter
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.capability import (
    DEFAULT_INVITE_CAPABILITIES,
    Capability,
    SocketKind,
    SocketSpec,
    parse_capabilities,
    parse_capability,
    parse_source,
)
from irosh.core.policy import (
    may_permit,
    permits,
    permits_unix,
    permits_user,
    permitted_addresses,
)
from tests.core.policy_requests import AsUser, Forward, Listen, Request, Simple, permits_request


def ask(rules: Sequence[str], source: str, resolved: Sequence[str] = (), kind: SocketKind = "forward") -> list[str]:
    return permitted_addresses(parse_capabilities(rules), kind, parse_source(source), resolved)


def reach(rules: Sequence[str], *addresses: str, kind: SocketKind = "forward") -> list[str]:
    """What the rules permit of a name that resolves to these addresses."""
    return permitted_addresses(parse_capabilities(rules), kind, SocketSpec("tcp", "name.example", 80), list(addresses))


LOOPBACK = ["forward:tcp://127.0.0.0/8:*", "forward:tcp://[::1]:*"]
LAN = ["forward:tcp://10.0.0.0/8:*"]
ALL_V6 = ["forward:tcp://[::/0]:*"]
ALL_V4 = ["forward:tcp://0.0.0.0/0:*"]

simple_names: list[Literal["shell", "exec", "files"]] = ["shell", "exec", "files"]
rule_texts = st.sampled_from(
    [
        "shell",
        "exec",
        "files",
        "user:bob",
        "user:*",
        *LOOPBACK,
        *LAN,
        *ALL_V4,
        *ALL_V6,
        "forward:tcp://*:80",
        "forward:tcp://db.example:80",
        "forward:udp://*:*",
        "forward:unix:///run/*.sock",
        "listen:tcp://0.0.0.0:*",
        "listen:tcp://127.0.0.1:*",
        "listen:unix:///tmp/**",
        "all",
    ]
)
addresses = st.one_of(
    st.ip_addresses().map(str),
    st.sampled_from(["127.0.0.1", "::1", "0.0.0.0", "::", "10.1.2.3", "fe80::1%eth0", "64:ff9b::7f00:1"]),
    st.ip_addresses(v=4).map(lambda ip: f"::ffff:{ip}"),
)
requests: st.SearchStrategy[Request] = st.one_of(
    st.builds(Simple, st.sampled_from(simple_names)),
    st.builds(AsUser, st.sampled_from(["bob", "root", "*", ""])),
    st.builds(Forward, st.sampled_from(["tcp", "udp"]), addresses, st.sampled_from([0, 80, 443, -1, 70_000])),
    st.builds(Forward, st.just("tcp"), st.sampled_from(["db.example", "name.example"]), st.just(80)),
    st.builds(Listen, st.just("tcp"), addresses, st.sampled_from([0, 80])),
    st.builds(Forward, st.just("unix"), path=st.sampled_from(["/run/a.sock", "/run/b/a.sock", "run/a.sock"])),
)


@given(requests, st.lists(addresses, max_size=3))
def test_nothing_is_permitted_by_default(request: Request, resolved: list[str]) -> None:
    assert not permits_request((), request, resolved)


@given(requests, st.lists(addresses, max_size=3), st.lists(rule_texts), st.lists(rule_texts))
def test_more_capabilities_never_permit_less(
    request: Request, resolved: list[str], some: list[str], more: list[str]
) -> None:
    few, many = parse_capabilities(some), parse_capabilities([*some, *more])
    assert permits_request(many, request, resolved) >= permits_request(few, request, resolved)
    if isinstance(request, Forward | Listen):
        fewer = permitted_addresses(few, request.kind, request.spec, resolved)
        assert set(fewer) <= set(permitted_addresses(many, request.kind, request.spec, resolved))


@given(requests, st.lists(addresses, max_size=3), st.lists(rule_texts))
def test_what_may_be_permitted_includes_what_is(request: Request, resolved: list[str], rules: list[str]) -> None:
    granted = parse_capabilities(rules)
    if isinstance(request, Forward | Listen) and permits_request(granted, request, resolved):
        assert may_permit(granted, request.kind, request.spec)


def test_what_no_rule_is_about_cannot_be_permitted() -> None:
    granted = parse_capabilities(["shell", "forward:tcp://10.0.0.0/8:80", "listen:unix:///run/*"])
    name = SocketSpec("tcp", "name.example", 80)
    assert may_permit(granted, "forward", name)
    assert not may_permit(granted, "listen", name)
    assert not may_permit(granted, "forward", SocketSpec("tcp", "name.example", 81))
    assert not may_permit(granted, "forward", SocketSpec("udp", "name.example", 80))
    assert not may_permit(granted, "forward", SocketSpec("unix", path="/run/a"))
    assert may_permit(granted, "listen", SocketSpec("unix", path="/run/a"))
    assert permits(granted, "forward")
    assert not permits(parse_capabilities(["shell"]), "forward")


@given(requests, st.lists(addresses, max_size=3))
def test_only_rules_of_the_right_kind_count(request: Request, resolved: list[str]) -> None:
    others = {
        "shell": ["exec", "files", "user:*", "forward:tcp://*:*", "listen:tcp://*:*"],
        "forward": ["shell", "exec", "files", "user:*", "listen:tcp://*:*", "listen:unix:///**"],
    }
    if isinstance(request, Forward):
        assert not permits_request(parse_capabilities(others["forward"]), request, resolved)
    if isinstance(request, Simple) and request.name == "shell":
        assert not permits_request(parse_capabilities(others["shell"]), request, resolved)


def test_simple_capabilities() -> None:
    granted = parse_capabilities(["shell", "files"])
    assert permits(granted, "shell")
    assert permits(granted, "files")
    assert not permits(granted, "exec")
    assert permits(parse_capabilities(["all"]), "exec")


def test_users() -> None:
    granted = parse_capabilities(["shell", "user:alice"])
    assert permits_user(granted, "alice")
    assert not permits_user(granted, "Alice")
    assert not permits_user(granted, "root")
    assert not permits_user(granted, "*")
    assert not permits_user(parse_capabilities(["shell", "exec"]), "alice")
    for grant in ("user:*", "all"):
        assert permits_user(parse_capabilities([grant]), "root")
        for impossible in ("", "*", "a b", "-x", "a\0b", "a\n", "../x"):
            assert not permits_user(parse_capabilities([grant]), impossible)


def test_the_default_of_an_invite_reaches_the_host_itself_and_no_further() -> None:
    granted = parse_capabilities(DEFAULT_INVITE_CAPABILITIES)
    for text, expected in [
        ("tcp://127.0.0.1:22", ["127.0.0.1"]),
        ("tcp://127.9.9.9:22", ["127.9.9.9"]),
        ("udp://[::1]:53", ["::1"]),
        ("tcp://192.168.1.1:22", []),
        ("udp://[fd00::1]:53", []),
    ]:
        assert permitted_addresses(granted, "forward", parse_source(text), []) == expected
        listens = expected if text.startswith("tcp") else []
        assert permitted_addresses(granted, "listen", parse_source(text), []) == listens


def test_ports_and_protocols() -> None:
    rules = ["forward:tcp://10.0.0.0/8:8000-8100"]
    assert ask(rules, "tcp://10.1.1.1:8000") == ["10.1.1.1"]
    assert ask(rules, "tcp://10.1.1.1:8100") == ["10.1.1.1"]
    assert ask(rules, "tcp://10.1.1.1:7999") == []
    assert ask(rules, "tcp://10.1.1.1:8101") == []
    assert ask(rules, "udp://10.1.1.1:8000") == []
    assert ask(rules, "tcp://10.1.1.1:8000", kind="listen") == []
    assert ask(rules, "tcp://11.0.0.0:8000") == []


@pytest.mark.parametrize("port", [-1, 65_536, 2**40])
def test_impossible_ports_are_refused(port: int) -> None:
    spec = SocketSpec("tcp", "127.0.0.1", port)
    assert permitted_addresses(parse_capabilities(["all"]), "forward", spec, []) == []


def test_any_free_port_needs_a_rule_for_any_port() -> None:
    spec = SocketSpec("tcp", "127.0.0.1", 0)
    assert permitted_addresses([parse_capability("listen:tcp://127.0.0.1:*")], "listen", spec, []) == ["127.0.0.1"]
    assert permitted_addresses([parse_capability("listen:tcp://127.0.0.1:1-65535")], "listen", spec, []) == []


def test_a_name_is_permitted_by_what_it_resolves_to() -> None:
    assert reach(LAN, "10.1.2.3", "127.0.0.1", "192.168.0.1", "10.1.2.3") == ["10.1.2.3"]
    assert reach(LAN) == []
    assert reach(LAN, "not an address", "10.0.0.1 ", "10.1") == []


def test_a_literal_is_its_own_resolution() -> None:
    assert ask(LAN, "tcp://192.168.0.1:80", ["10.0.0.1"]) == []
    assert ask(LAN, "tcp://10.0.0.2:80", ["192.168.0.1"]) == ["10.0.0.2"]


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_the_ipv4_address(ip: IPv4Address) -> None:
    for spelling in (f"::ffff:{ip}", f"::FFFF:{ip}", f"0:0:0:0:0:ffff:{ip}", str(IPv6Address(0xFFFF << 32 | int(ip)))):
        for rules in (LOOPBACK, LAN, ALL_V4, ALL_V6):
            assert reach(rules, spelling) == reach(rules, str(ip))
            literal = SocketSpec("tcp", spelling, 80)
            assert permitted_addresses(parse_capabilities(rules), "forward", literal, []) == reach(rules, str(ip))
        assert reach(ALL_V6, spelling) == []


@given(st.ip_addresses(v=4), st.integers(0, 2**64 - 1))
def test_no_ipv6_form_carries_an_ipv4_address_past_its_rules(ip: IPv4Address, rest: int) -> None:
    carriers = [
        IPv6Address(0x64FF9B << 96 | int(ip)),  # NAT64
        IPv6Address(0x64FF9B0001 << 80 | int(ip)),  # NAT64, local use
        IPv6Address(0x2002 << 112 | int(ip) << 80 | rest),  # 6to4
        IPv6Address(0x20010000 << 96 | rest >> 32 << 32 | int(ip) ^ 0xFFFF_FFFF),  # Teredo
        IPv6Address(0xFFFF << 48 | int(ip)),  # IPv4-translated
        IPv6Address(int(ip)),  # IPv4-compatible
    ]
    for carrier in carriers:
        if carrier.is_loopback or carrier.is_unspecified:
            continue
        # Neither a rule for the carried address nor one for all of IPv6 is enough; both together are.
        assert reach([f"forward:tcp://{ip}/32:*"] if int(ip) else LAN, str(carrier)) == []
        assert reach(ALL_V6, str(carrier)) == []
        assert reach([*ALL_V6, *ALL_V4], str(carrier)) == [str(carrier)]
        assert reach(["forward:tcp://*:*"], str(carrier)) == [str(carrier)]


@given(st.ip_addresses())
def test_plain_addresses_follow_the_network(ip: IPv4Address | IPv6Address) -> None:
    for rule in ("127.0.0.0/8", "10.0.0.0/8", "0.0.0.0/1", "[2001:db8::/32]", "[fd00::/8]", "[8000::/1]"):
        network = ip_network(rule.strip("[]"))
        permitted = reach([f"forward:tcp://{rule}:*"], str(ip))
        assert all(ip_address(address) in network for address in permitted)
        if isinstance(ip, IPv4Address) and int(ip):
            assert bool(permitted) == (ip in network)


@pytest.mark.parametrize("zero", ["0.0.0.0", "::", "::ffff:0.0.0.0", "0:0::0"])
def test_connecting_to_the_unspecified_address_is_connecting_to_loopback(zero: str) -> None:
    assert reach(LAN, zero) == []
    assert reach(["forward:tcp://[fd00::/8]:*"], zero) == []
    assert reach(["forward:tcp://0.0.0.0/8:*"], zero) == []
    (permitted,) = reach(LOOPBACK, zero)
    assert ip_address(permitted).is_loopback
    assert permitted_addresses(parse_capabilities(LAN), "forward", SocketSpec("tcp", zero, 80), []) == []


def test_listening_on_every_interface_needs_a_rule_that_says_so() -> None:
    def may(rule: str, address: str) -> bool:
        spec = SocketSpec("tcp", address, 80)
        return permitted_addresses([parse_capability(rule)], "listen", spec, []) == [str(ip_address(address))]

    for address in ("0.0.0.0", "::"):
        assert not may("listen:tcp://127.0.0.0/8:*", address)
        assert not may("listen:tcp://[::1]:*", address)
        assert not may("listen:tcp://10.0.0.0/8:*", address)
        assert not may("listen:tcp://0.0.0.0/8:*", address)
        assert not may("listen:tcp://[::/8]:*", address)
        assert may("listen:tcp://*:*", address)
        assert may("listen:tcp://[::]:*", address)
        assert may("all", address)
    assert may("listen:tcp://0.0.0.0:*", "0.0.0.0")
    assert may("listen:tcp://0.0.0.0/0:*", "0.0.0.0")
    assert not may("listen:tcp://0.0.0.0:*", "::")
    # It takes IPv4 connections as well.
    assert not may("listen:tcp://[::/0]:*", "::")
    assert not may("listen:tcp://0.0.0.0:*", "127.0.0.1")
    assert reach(["listen:tcp://[::/0]:*", "listen:tcp://0.0.0.0/0:*"], "::", kind="listen") == ["::"]


def test_zones() -> None:
    rules = ["forward:tcp://[fe80::/10]:*"]
    assert reach(rules, "fe80::1%eth0", "fe80::1", "fe80::2%3") == ["fe80::1%eth0", "fe80::1", "fe80::2%3"]
    assert reach(LAN, "fe80::1%eth0") == []
    assert reach(LOOPBACK, "::1%eth0", "::ffff:127.0.0.1%eth0") == ["::1", "127.0.0.1"]
    assert reach(LAN, "::ffff:127.0.0.1%10.0.0.1", "127.0.0.1%10.0.0.1", "fe80::1%eth0/../x") == []


@pytest.mark.parametrize(
    "spelling",
    [
        "0177.0.0.1",
        "2130706433",
        "127.1",
        "0x7f.0.0.1",
        "127.0.0.01",
        "127.0.0.1.",
        " 127.0.0.1",
        "[127.0.0.1]",
        "①27.0.0.1",
    ],
)
def test_odd_spellings_are_names_to_be_resolved(spelling: str) -> None:
    spec = SocketSpec("tcp", spelling, 80)
    assert permitted_addresses(parse_capabilities(LOOPBACK), "forward", spec, []) == []
    assert permitted_addresses(parse_capabilities(LAN), "forward", spec, ["127.0.0.1"]) == []
    # As an answer of a resolver they are not addresses at all.
    assert reach(["forward:tcp://*:*"], spelling) == []


def test_a_name_rule_is_for_exactly_this_name() -> None:
    rules = ["forward:tcp://db.internal:5432"]
    for name in ("db.internal", "DB.Internal", "db.internal."):
        assert permitted_addresses(
            parse_capabilities(rules), "forward", SocketSpec("tcp", name, 5432), ["10.0.0.5", "fd00::5"]
        ) == ["10.0.0.5", "fd00::5"]
    for name in (
        "evil.db.internal",
        "db.internal.evil",
        "db-internal",
        "db.internal..",
        ".db.internal",
        "db.internal\0",
        "db.internal\n",
        "db.\N{KELVIN SIGN}internal",
        "",
        "10.0.0.5",
    ):
        spec = SocketSpec("tcp", name, 5432)
        assert permitted_addresses(parse_capabilities(rules), "forward", spec, ["10.0.0.5"]) == []


def test_look_alike_letters_do_not_make_the_name() -> None:
    rules = parse_capabilities(["forward:tcp://kube.internal:80"])
    spec = SocketSpec("tcp", "\N{KELVIN SIGN}ube.internal", 80)
    assert permitted_addresses(rules, "forward", spec, ["10.0.0.5"]) == []


def test_a_name_rule_cannot_be_rebound_to_the_host_itself() -> None:
    rules = ["forward:tcp://name.example:80"]
    inward = ["127.0.0.1", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1", "169.254.169.254", "fe80::1%eth0", "224.0.0.1"]
    carried = ["64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::1", "::7f00:1"]
    assert reach(rules, *inward, *carried, "192.0.2.1") == ["192.0.2.1"]
    assert reach([*rules, *LOOPBACK], *inward) == ["127.0.0.1", "::1"]


def test_localhost_is_loopback_whatever_the_resolver_says() -> None:
    for name in ("localhost", "app.localhost"):
        rules = [f"forward:tcp://{name}:80"]
        assert ask(rules, f"tcp://{name}:80", ["127.0.0.1", "::1", "192.0.2.1"]) == ["127.0.0.1", "::1"]


def test_unix_paths() -> None:
    def may(pattern: str, path: str) -> bool:
        return permits_unix([parse_capability(f"forward:unix://{pattern}")], "forward", path)

    assert may("/run/*.sock", "/run/app.sock")
    assert may("/run/*.sock", "/run/.sock")
    assert not may("/run/*.sock", "/run/sub/app.sock")
    assert not may("/run/*.sock", "/run/app.sock.bak")
    assert not may("/run/*.sock", "/var/run/app.sock")
    assert may("/run/*/x", "/run/a/x")
    assert not may("/run/*/x", "/run/x")
    assert may("/run/**/x", "/run/x")
    assert may("/run/**/x", "/run/a/b/x")
    assert not may("/run/**/x", "/runx")
    assert may("/run/**", "/run/a/b")
    assert may("/**/a/**/b", "/a/a/c/b")
    assert not may("/**/a/**/b", "/c/b")
    assert may("/run/a?[b]", "/run/a?[b]")
    assert not may("/run/a?[b]", "/run/axb")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "run/a",
        "/run/../etc/a",
        "/run/./a",
        "/run//a",
        "/run/a/",
        "/run/a\0b",
        "\0run",
        "@run",
        "/..",
        "/" + "a/" * 4000,
    ],
)
def test_paths_that_are_not_normal_are_refused_even_with_all(path: str) -> None:
    everything = parse_capabilities(["all", "forward:unix:///**"])
    assert not permits_unix(everything, "forward", path)


def test_unix_rules_are_for_one_kind() -> None:
    rules = parse_capabilities(["listen:unix:///run/**", "forward:tcp://*:*"])
    assert permits_unix(rules, "listen", "/run/a")
    assert not permits_unix(rules, "forward", "/run/a")
    assert permits_unix(parse_capabilities(["all"]), "forward", "/run/a")


@given(st.from_regex(r"[ab*]{1,6}", fullmatch=True), st.from_regex(r"[ab]{1,8}", fullmatch=True))
def test_one_segment_matches_as_a_shell_does(pattern: str, name: str) -> None:
    if "**" in pattern:
        return
    granted = [parse_capability(f"forward:unix:///run/{pattern}")]
    assert permits_unix(granted, "forward", f"/run/{name}") == bool(fullmatch(translate(pattern), name))


def test_a_path_made_to_be_slow_is_not() -> None:
    granted = [
        parse_capability("forward:unix:///" + "*a" * 500 + "b"),
        parse_capability("forward:unix:///" + "**/a/" * 400 + "b"),
    ]
    started = perf_counter()
    assert not permits_unix(granted, "forward", "/" + "a" * 4000)
    assert not permits_unix(granted, "forward", "/a" * 2000)
    assert perf_counter() - started < 5


@pytest.mark.parametrize(
    ("request_", "resolved"),
    [
        (Simple("exec"), []),
        (AsUser("alice"), []),
        (Forward("tcp", "192.0.2.1", 443), []),
        (Forward("udp", "2001:db8::1", 53), []),
        (Forward("tcp", "db.internal", 5432), ["10.0.0.1"]),
        (Forward("unix", path="/run/x.sock"), []),
        (Listen("tcp", "0.0.0.0", 8080), []),
        (Listen("unix", path="/tmp/x"), []),
    ],
)
def test_a_requests_text_is_the_capability_that_permits_it(request_: Request, resolved: list[str]) -> None:
    granted: list[Capability] = [parse_capability(str(request_))]
    assert permits_request(granted, request_, resolved)
    for other in (Simple("shell"), AsUser("root"), Forward("tcp", "192.0.2.2", 443), Listen("tcp", "192.0.2.1", 1)):
        assert not permits_request(granted, other, resolved)


@pytest.mark.parametrize(
    "address",
    ["100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254", "240.0.0.1", "0.1.2.3"],
)
def test_no_name_leads_to_what_a_cloud_tells_the_machine_itself(address: str) -> None:
    """Who runs a name's zone may answer with anything; these are also none of a remote machine's addresses."""
    assert reach(["forward:tcp://name.example:80"], address, "10.1.2.3") == ["10.1.2.3"]
    assert reach(["forward:tcp://name.example:80", "forward:tcp://*:80"], address) == [address]
