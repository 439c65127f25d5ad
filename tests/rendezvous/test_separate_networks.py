"""What addresses tell of whether two nodes can meet at all."""

from __future__ import annotations

import pytest

from irosh.core.ice_description import IceDescription
from irosh.rendezvous.ice_failure import in_vain
from irosh.rendezvous.manual_failure import is_hopeless
from irosh.rendezvous.separate_networks import are_separate

SYMMETRIC = ("203.0.113.2:1000", "203.0.113.2:1001", "192.168.1.2:7")
ELSEWHERE = ("203.0.113.9:2000", "203.0.113.9:2001", "192.168.2.2:7")
CONE = ("203.0.113.9:2000", "192.168.2.2:7")


@pytest.mark.parametrize(
    ("own", "theirs", "separate"),
    [
        (["192.168.1.2", "203.0.113.2"], ["192.168.2.2", "203.0.113.9"], True),
        (["192.168.1.2", "203.0.113.2"], ["192.168.1.9", "203.0.113.9"], False),  # perhaps the same, or a VPN
        (["192.168.1.2", "203.0.113.2"], ["192.168.2.2", "203.0.113.2"], False),  # behind one NAT
        (["192.168.1.2", "2001:db8::1"], ["192.168.2.2", "2001:db8:9::1"], False),
        (["192.168.1.2", "2001:db8::1"], ["192.168.2.2"], True),
    ],
)
def test_networks(own: list[str], theirs: list[str], separate: bool) -> None:
    assert are_separate(own, theirs) is separate


def test_by_hand_two_symmetric_nats_are_hopeless() -> None:
    assert is_hopeless(SYMMETRIC, ELSEWHERE)
    assert not is_hopeless(SYMMETRIC, CONE)
    assert not is_hopeless(SYMMETRIC, SYMMETRIC)


def described(public: str, local: str, *ports: int, relays: tuple[str, ...] = (), turn: bool = False) -> IceDescription:
    lines = [f"1 1 udp 2130706431 {local} 7 typ host"]
    lines += [f"2 1 udp 1694498815 {public} {port} typ srflx raddr {local} rport 7" for port in ports]
    lines += ["3 1 udp 16777215 198.51.100.2 9 typ relay raddr 203.0.113.2 rport 7"] * turn
    return IceDescription("00" * 32, "abcd", "x" * 24, tuple(lines), relays)


def test_ice_is_in_vain_without_a_relay_and_turn_only() -> None:
    there = described("203.0.113.9", "192.168.2.2", 1, 2, relays=("https://relay.example",))
    error = in_vain(described("203.0.113.2", "192.168.1.2", 1, 2), there, relay_forbidden=True)
    assert error is not None
    assert error.code == "no-path"
    assert "--turn-server" in error.hint
    relayed = described("203.0.113.2", "192.168.1.2", 1, 2, relays=("https://relay.example",))
    assert in_vain(relayed, there, relay_forbidden=False) is None
    assert in_vain(described("203.0.113.2", "192.168.1.2", 1, 2, turn=True), there, relay_forbidden=True) is None
    assert in_vain(described("203.0.113.2", "192.168.1.2", 1), there, relay_forbidden=True) is None
