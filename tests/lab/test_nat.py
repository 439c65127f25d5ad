"""Every kind of NAT maps and filters as its name says: measured, not read from its rules."""

from __future__ import annotations

import pytest

from tests.lab.nat import CONES, NatKind
from tests.lab.nat_behaviour import Behaviour, Observer, filtering, mapping
from tests.lab.network import Network
from tests.lab.requirements import requires_netns
from tests.lab.topologies import Internet

pytestmark = [pytest.mark.netns, requires_netns()]

FILTERING = {
    NatKind.FULL_CONE: Behaviour.ENDPOINT_INDEPENDENT,
    NatKind.ADDRESS_RESTRICTED: Behaviour.ADDRESS_DEPENDENT,
    NatKind.PORT_RESTRICTED: Behaviour.ADDRESS_AND_PORT_DEPENDENT,
    NatKind.SYMMETRIC: Behaviour.ADDRESS_AND_PORT_DEPENDENT,
}
TRANSLATING = [kind for kind in NatKind if kind != NatKind.NONE]


@pytest.mark.parametrize("keep_ports", [True, False], ids=["keeping", "changing"])
@pytest.mark.parametrize("kind", TRANSLATING)
def test_a_nat_maps_and_filters_as_its_kind_does(kind: NatKind, keep_ports: bool) -> None:
    with Network() as network:
        internet = Internet(network)
        home = internet.home("home", kind, keep_ports=keep_ports)
        with Observer.on(internet.server) as observer:
            with home.host.udp_socket() as client:
                expected = Behaviour.ENDPOINT_INDEPENDENT if kind in CONES else Behaviour.ADDRESS_AND_PORT_DEPENDENT
                assert mapping(client, observer) == expected
                address, port = observer.seen(client)
                assert address == home.nat.outside
                assert (port == client.getsockname()[1]) == (kind in CONES and keep_ports)
            with home.host.udp_socket() as client:
                assert filtering(client, observer) == FILTERING[kind]
