"""Which packets pass a host and a client, whatever the other side sends."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.capability import parse_capabilities
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.ip_packet import ICMP, TCP, UDP
from irosh.node.packet_filter import MAX_REFUSALS_TOLD, PacketFilter
from irosh.services.vpn.client import ClientGate
from irosh.services.vpn.host import HostGate
from irosh.services.vpn.machine import checked_welcome
from irosh.services.vpn.messages import VpnWelcome
from irosh.services.vpn.pool import Pool
from irosh.services.vpn.routing import Wanted, parse_routes
from tests.support.fuzzing import fuzz_runs
from tests.support.packets import packet4, packet6

POOL = Pool(IPv4Network("100.64.7.0/24"), IPv6Network("fd00:7::/64"))
LEASE = POOL.lease()
WELCOME = VpnWelcome("100.64.7.2", "100.64.7.1", "fd00:7::2", "fd00:7::1")
PORTS = b"\x10\x00\x00\x35" + bytes(16)


def host_gate(*rules: str, told: list[str] | None = None) -> HostGate:
    capabilities = parse_capabilities(rules)
    return HostGate(POOL, LEASE, PacketFilter(lambda: capabilities, (told if told is not None else []).append))


def four(source: str, destination: str, payload: bytes = PORTS, protocol: int = UDP) -> bytes:
    return packet4(IPv4Address(source), IPv4Address(destination), payload, protocol=protocol)


def test_a_client_s_own_packets_go_where_they_may() -> None:
    gate = host_gate("vpn:10.0.0.0/8")
    assert gate.lets_out(four("100.64.7.2", "10.1.2.3"))
    assert not gate.lets_out(four("100.64.7.2", "192.0.2.1"))
    assert gate.lets_in(four("10.1.2.3", "100.64.7.2"))


@pytest.mark.parametrize("source", ["100.64.7.3", "100.64.7.1", "10.0.0.1", "127.0.0.1", "0.0.0.0"])
def test_another_s_address_does_not(source: str) -> None:
    assert not host_gate("vpn:*").lets_out(four(source, "10.1.2.3"))


def test_at_the_host_s_address_there_are_names_and_ping() -> None:
    gate = host_gate("vpn:10.0.0.0/8")
    assert gate.lets_out(four("100.64.7.2", "100.64.7.1"))
    assert gate.lets_out(four("100.64.7.2", "100.64.7.1", protocol=TCP))
    assert gate.lets_out(four("100.64.7.2", "100.64.7.1", b"\x08\0\0\0", ICMP))
    assert not gate.lets_out(four("100.64.7.2", "100.64.7.1", b"\x10\0\0\x16" + bytes(16), TCP))
    assert not host_gate("vpn:*").lets_out(four("100.64.7.2", "100.64.7.1", b"\x10\0\0\x16" + bytes(16), TCP))


def test_to_the_client_goes_only_what_is_for_it() -> None:
    assert not host_gate("vpn:*").lets_in(four("10.1.2.3", "100.64.7.3"))


def test_refusals_are_told_once_and_not_without_end() -> None:
    told: list[str] = []
    gate = host_gate("vpn:10.0.0.0/8", told=told)
    for number in range(MAX_REFUSALS_TOLD * 3):
        for _ in range(2):
            assert not gate.lets_out(four("100.64.7.2", str(IPv4Address(0xC0000200 + number))))
    assert len(told) == len(set(told)) == MAX_REFUSALS_TOLD


@fuzz_runs(500)
@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda data: four("100.64.7.2", "10.0.0.1", data)))
def test_nonsense_passes_no_gate_by_failing(data: bytes) -> None:
    host_gate("vpn:*").lets_out(data)
    host_gate("vpn:*").lets_in(data)
    for everything in (True, False):
        gate = ClientGate(WELCOME, Wanted(parse_routes(["10.0.0.0/8"]), everything))
        gate.lets_in(data)
        gate.lets_out(data)


def test_a_client_takes_what_comes_from_its_routes() -> None:
    gate = ClientGate(WELCOME, Wanted(parse_routes(["10.0.0.0/8", "fd01::/16"]), everything=False))
    assert gate.lets_in(four("10.1.2.3", "100.64.7.2"))
    assert gate.lets_in(four("100.64.7.1", "100.64.7.2"))
    assert not gate.lets_in(four("192.0.2.1", "100.64.7.2"))
    assert not gate.lets_in(four("10.1.2.3", "10.1.2.4"))
    assert gate.lets_in(packet6(IPv6Address("fd01::1"), IPv6Address("fd00:7::2"), b""))
    everything = ClientGate(WELCOME, Wanted((), everything=True))
    assert everything.lets_in(four("192.0.2.1", "100.64.7.2"))
    assert not everything.lets_in(four("192.0.2.1", "192.168.0.5"))


def test_a_client_sends_as_itself_only() -> None:
    gate = ClientGate(WELCOME, Wanted((), everything=True))
    assert gate.lets_out(four("100.64.7.2", "10.0.0.1"))
    assert not gate.lets_out(four("10.2.0.2", "10.0.0.1"))


@pytest.mark.parametrize(
    "welcome",
    [
        VpnWelcome("", ""),
        VpnWelcome("100.64.7.2", "127.0.0.1"),
        VpnWelcome("100.64.7.2", "100.64.7.1; reboot"),
        VpnWelcome("100.64.7.2", "fd00::1"),
        VpnWelcome("100.64.7.2/8", "100.64.7.1"),
        VpnWelcome("224.0.0.1", "100.64.7.1"),
        VpnWelcome("100.64.7.2", "100.64.7.1", "fe80::1%eth0", "fd00::1"),
        VpnWelcome("100.64.7.2", "100.64.7.1", "fd00::2", ""),
    ],
)
def test_a_peer_that_gives_no_addresses(welcome: VpnWelcome) -> None:
    with pytest.raises(IroshError) as caught:
        checked_welcome(welcome)
    assert caught.value.code is ErrorCode.PROTOCOL


def test_a_welcome_without_ipv6() -> None:
    assert checked_welcome(VpnWelcome("100.64.7.2", "100.64.7.1")).address6 == ""
    assert checked_welcome(WELCOME) == WELCOME


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "host", "", "fd00::1/16"])
def test_routes_that_are_none(text: str) -> None:
    with pytest.raises(IroshError) as caught:
        parse_routes([text])
    assert caught.value.code is ErrorCode.INVALID_ADDRESS
    assert caught.value.hint


def test_routes() -> None:
    assert [str(each) for each in parse_routes(["10.0.0.0/8", "[fd00::/8]", "10.0.0.0/8", "192.0.2.1"])] == [
        "10.0.0.0/8",
        "fd00::/8",
        "192.0.2.1/32",
    ]
    assert ip_address("10.0.0.1") in parse_routes(["10.0.0.0/8"])[0]
