"""The VPN service; see :class:`irosh.node.services.Service`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from irosh.core.config import VpnConfig
from irosh.node.actions import Action, Use
from irosh.node.control import Channel, Operation
from irosh.node.node import Node
from irosh.node.places import Places
from irosh.node.services import IncomingStream
from irosh.services.vpn.host_network import HostNetwork
from irosh.services.vpn.messages import VpnRequest
from irosh.services.vpn.pool import Pool, network6, networks4

MAX_OF_ONE = 32  # of one peer: each takes an interface, and addresses of which there are some hundred for all


class VpnService:
    """Where clients get their addresses, if ``config`` does not say it, goes with the identity."""

    name = "vpn"
    request_type = VpnRequest

    def __init__(self, endpoint_id: str, config: VpnConfig) -> None:
        choices = [config.pool] if config.pool is not None else list(networks4(endpoint_id))
        self._network = HostNetwork([Pool(each, config.pool6 or network6(endpoint_id)) for each in choices])
        self._keep = config.keep
        self._places = Places(MAX_OF_ONE, "VPNs open")

    def operations(self, node: Node) -> dict[str, Operation]:
        async def open_vpn(channel: Channel, request: dict[str, Any]) -> None:
            from irosh.services.vpn.client import serve_open_request  # late: most nodes never open one

            await serve_open_request(node, channel, request)

        return {"vpn.open": open_vpn}

    def required(self, request: Any) -> Sequence[Action]:
        return (Use(("vpn",)),)

    async def serve(self, incoming: IncomingStream) -> None:
        from irosh.services.vpn.host import serve_client

        await serve_client(incoming, self._network, self._places, self._keep)
