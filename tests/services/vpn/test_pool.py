"""Addresses for clients: each its own, again the same for who comes again, and not somebody else's."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.vpn.pool import Lease, Pool, conflict, network6, networks4


def pool(prefix: int = 24) -> Pool:
    return Pool(IPv4Network(f"100.64.7.0/{prefix}"), IPv6Network("fd00:7::/64"))


@given(st.lists(st.booleans(), max_size=80))
def test_nobody_has_another_s_address(leaving: list[bool]) -> None:
    addresses = pool()
    held: list[Lease] = []
    for leaves in leaving:
        if leaves and held:
            addresses.release(held.pop(0))
        else:
            held.append(addresses.lease())
    assert len({lease.address4 for lease in held}) == len(held)
    assert addresses.gateway4 not in {lease.address4 for lease in held}
    assert all(lease.address4 in addresses.network4 and lease.address6 in addresses.network6 for lease in held)


def test_who_comes_again_has_the_same() -> None:
    addresses = pool()
    addresses.lease()
    second = addresses.lease()
    addresses.release(second)
    assert addresses.lease(str(second.address4), str(second.address6)) == second
    assert addresses.lease(str(second.address4)) != second, "somebody has it"
    assert addresses.lease("10.0.0.1", "nonsense") != second


def test_a_small_pool_is_full_at_some_time() -> None:
    addresses = pool(30)
    lease = addresses.lease()
    with pytest.raises(IroshError) as caught:
        addresses.lease()
    assert caught.value.code is ErrorCode.BUSY
    addresses.release(lease)
    assert addresses.lease() == lease


@given(st.text(min_size=1), st.text(min_size=1))
def test_networks_go_with_the_identity(one: str, other: str) -> None:
    assert next(networks4(one)) == next(networks4(one))
    assert next(networks4(one)).subnet_of(IPv4Network("100.64.0.0/10"))
    assert network6(one).subnet_of(IPv6Network("fd00::/8"))
    assert len(set(networks4(one))) == 16
    if one != other:
        assert network6(one) != network6(other)


def test_conflicts() -> None:
    known = [ip_network(text) for text in ("0.0.0.0/0", "10.0.0.0/8", "fd00::/16")]
    assert conflict(ip_network("100.64.7.0/24"), known) is None
    assert conflict(ip_network("10.2.0.0/24"), known) == known[1]
    assert conflict(ip_network("fd00::1"), known) == known[2]
