"""Where a peer may send packets through a host."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.capability import parse_capabilities
from irosh.core.errors import IroshError
from irosh.core.policy import permits, permits_packet

any_address = st.integers(0, 2**32 - 1).map(IPv4Address) | st.integers(0, 2**128 - 1).map(IPv6Address)

KEPT_BACK = (
    *("127.0.0.1", "0.0.0.0", "169.254.169.254", "224.0.0.251", "255.255.255.255", "100.100.100.200", "168.63.129.16"),
    *("::", "::1", "fe80::1", "ff02::1", "fd00:ec2::254", "64:ff9b::7f00:1", "2002:7f00:1::", "::ffff:127.0.0.1"),
)


def permitted(address: str, *rules: str) -> bool:
    return permits_packet(parse_capabilities(rules), ip_address(address))


def test_a_network() -> None:
    assert permitted("10.1.2.3", "vpn:10.0.0.0/8")
    assert not permitted("11.1.2.3", "vpn:10.0.0.0/8")
    assert permitted("fd00::5", "vpn:fd00::/16")
    assert not permitted("10.0.0.1", "vpn:fd00::/16")
    assert not permitted("fd00::5", "vpn:10.0.0.0/8")
    assert permitted("192.0.2.1", "vpn:10.0.0.0/8", "vpn:192.0.2.1")


def test_any() -> None:
    for rule in ("vpn:*", "all", "vpn:0.0.0.0/0"):
        assert permitted("198.51.100.1", rule)
    for rule in ("vpn:*", "all", "vpn:::/0"):
        assert permitted("2001:db8::1", rule)


@pytest.mark.parametrize("address", KEPT_BACK)
@pytest.mark.parametrize(
    "rules", [("vpn:*",), ("all",), ("vpn:0.0.0.0/0", "vpn:::/0"), ("vpn:128.0.0.0/1", "vpn:64.0.0.0/2")]
)
def test_what_is_kept_back(address: str, rules: tuple[str, ...]) -> None:
    assert not permitted(address, *rules)


def test_what_is_kept_back_can_be_written() -> None:
    assert permitted("169.254.169.254", "vpn:169.254.169.254")
    assert permitted("169.254.1.1", "vpn:169.254.0.0/16")
    assert permitted("127.0.0.1", "vpn:127.0.0.0/8")
    assert permitted("fe80::1", "vpn:fe80::/10")
    assert not permitted("169.254.169.254", "vpn:169.254.169.253")


def test_an_address_that_carries_another_needs_both() -> None:
    assert not permitted("64:ff9b::a00:1", "vpn:64:ff9b::/96")
    assert permitted("64:ff9b::a00:1", "vpn:64:ff9b::/96", "vpn:10.0.0.0/8")


def test_other_capabilities_are_not_enough() -> None:
    rules = parse_capabilities(["shell", "exec", "files", "forward:tcp://*:*", "telemetry"])
    assert not permits(rules, "vpn")
    assert not permits_packet(rules, ip_address("10.0.0.1"))


@given(any_address)
def test_nothing_is_permitted_by_nothing(address: IPv4Address | IPv6Address) -> None:
    assert not permits_packet((), address)


@given(any_address)
def test_a_rule_permits_no_other_address(address: IPv4Address | IPv6Address) -> None:
    rules = parse_capabilities(["vpn:10.1.0.0/16", "vpn:fd00:1::/32"])
    inside = str(address).startswith("10.1.") or str(address).startswith("fd00:1:")
    assert permits_packet(rules, address) == inside


@pytest.mark.parametrize(
    "text", ["vpn", "vpn:", "vpn:10.0.0.1/8", "vpn:host.example", "vpn:10.0.0.0/33", "vpn:[10.0.0.1]"]
)
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(IroshError, match="capability"):
        parse_capabilities([text])


@pytest.mark.parametrize("text", ["vpn:*", "vpn:10.0.0.0/8", "vpn:10.1.2.3", "vpn:fd00::/8", "vpn:::/0", "vpn:::1"])
def test_the_text_of_a_rule(text: str) -> None:
    (rule,) = parse_capabilities([text])
    assert str(rule) == text
    assert parse_capabilities([str(rule)]) == (rule,)
    (bracketed,) = parse_capabilities([text.replace("vpn:", "vpn:[", 1) + "]"] if ":" in text[4:] else [text])
    assert bracketed == rule
