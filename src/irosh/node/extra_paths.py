"""Connections for a session with several paths: one from each network of this machine.

Each is made by an endpoint of its own, bound to an address of that network, to the addresses that the peer is known
by, and joins the session by the secret that came over the first one. That one is not bound to a network: its engine
moves it to whichever answers sooner, so it makes room for the one that stays. Networks come and go meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from irosh.core.bind_address import bind_addresses
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.socket_spec import bracketed
from irosh.core.wire import Resume
from irosh.node.greeting import Doorway, hear_welcome, say_hello
from irosh.node.peer_connection import PeerConnection
from irosh.transport.interfaces import Connection, Route
from irosh.transport.local_addresses import LocalAddress, source_address, usable_addresses
from irosh.transport.session.carrier import Carrier
from irosh.transport.session.multi_session import MultiSession
from irosh.transport.wheel import EndpointSettings, bind_endpoint

log = logging.getLogger(__name__)

LOOK_EVERY = 2.0
DIAL_DEADLINE = 6.0
PAUSE_FIRST, PAUSE_MOST = 1.0, 30.0
MAX_REMOTES = 32


@dataclass
class _Network:
    """One interface: what it is used for, and when it is to be tried again."""

    task: asyncio.Task[None] | None = None
    address: str = ""
    connection: Connection | None = None
    pause: float = PAUSE_FIRST
    next_try: float = 0.0
    failures: int = field(default=0)


class ExtraPaths:
    """``secret``: the identity's. ``addresses``: where the peer was reached at first."""

    def __init__(self, peer: PeerConnection, doorway: Doorway, secret: bytes, addresses: Sequence[str]) -> None:
        assert isinstance(peer.session, MultiSession)
        self._peer = peer
        self._session = peer.session
        self._doorway = doorway
        self._secret = secret
        self._addresses = addresses
        self._networks: dict[str, _Network] = {}

    async def run(self) -> None:
        """Until cancelled; closes what it has opened."""
        welcome = await asyncio.shield(self._peer.welcome)
        told = tuple(welcome.addresses[:MAX_REMOTES])
        async with asyncio.TaskGroup() as group:
            while True:
                remotes = self._remotes(told)
                self._look(group, remotes, usable_addresses())
                await asyncio.sleep(LOOK_EVERY)

    def _remotes(self, told: Sequence[str]) -> list[str]:
        """Where the peer may be reached, as far as is known now."""
        seen = [path.remote for path in self._session.paths() if not path.relayed]
        return list(dict.fromkeys([*seen, *self._addresses, *told]))[:MAX_REMOTES]

    def _look(self, group: asyncio.TaskGroup, remotes: list[str], usable: list[LocalAddress]) -> None:
        present = {each.address for each in usable}
        for network in self._networks.values():
            if network.connection is not None and network.address not in present:
                network.connection.close(moved=True)  # unplugged: nobody need wait for what is on its way
        used = self._used_by_others(usable)
        now = time.monotonic()
        interfaces = dict.fromkeys(each.interface for each in usable)
        for interface in interfaces:
            network = self._networks.setdefault(interface, _Network())
            if interface in used and len(interfaces) == 1:
                continue  # the one there is goes by the only network
            if network.task is not None or now < network.next_try or self._session.is_full:
                continue
            for family in (False, True):
                local = next((e for e in usable if e.interface == interface and (":" in e.address) == family), None)
                there = [remote for remote in remotes if (remote.startswith("[")) == family]
                if local is not None and there:
                    network.address = local.address
                    network.task = group.create_task(self._serve(network, there))
                    break

    def _used_by_others(self, usable: list[LocalAddress]) -> set[str]:
        """The interfaces of the carriers that are not ours: those the system sends their packets by."""
        interfaces = {each.address: each.interface for each in usable}
        return {interfaces.get(source, "") for carrier in self._others() for source in _sources(carrier)}

    def _others(self) -> list[Carrier]:
        return [carrier for carrier in self._session.carriers() if carrier.local is None]

    def _make_room(self, address: str) -> None:
        """End the carriers whose packets the system sends from ``address`` now: ours does the same and stays."""
        for carrier in self._others():
            if address in _sources(carrier):
                carrier.connection.close(moved=True)

    async def _serve(self, network: _Network, remotes: list[str]) -> None:
        """One connection by this network, from dialling to its loss."""
        began = time.monotonic()
        try:
            async with contextlib.AsyncExitStack() as stack:
                bind = bind_addresses(f"{bracketed(network.address)}:0")
                settings = EndpointSettings(secret=self._secret, bind=bind, relays=(), accepts=False)
                endpoint = await bind_endpoint(settings)
                stack.push_async_callback(endpoint.close)
                async with asyncio.timeout(DIAL_DEADLINE):
                    network.connection = await endpoint.connect(Route(self._peer.peer_id, (), tuple(remotes)))
                stack.callback(network.connection.close, moved=True)
                await self._join(network.connection, network.address)
                log.info("%s: one more path, from %s", self._peer.peer_id[:10], network.address)
                self._make_room(network.address)
                began = time.monotonic()
                network.pause = PAUSE_FIRST
                await network.connection.wait_closed()
        except (IroshError, TimeoutError) as error:
            log.info("%s: no path from %s: %s", self._peer.peer_id[:10], network.address, error or "no answer")
        finally:
            network.task = network.connection = None
            network.next_try = max(began, time.monotonic()) + network.pause * random.uniform(0.5, 1)  # noqa: S311
            network.pause = min(network.pause * 2, PAUSE_MOST)

    async def _join(self, connection: Connection, local: str) -> None:
        credentials = self._session.credentials
        if credentials is None or connection.peer_id != self._session.peer_id:
            raise IroshError(ErrorCode.IDENTITY_MISMATCH, "another machine has answered")
        resume = Resume(credentials.session, credentials.token, join=True)
        control = await say_hello(self._doorway, connection, None, resume, uses=self._session.uses)
        await hear_welcome(connection, control)
        carrier = Carrier(connection, control, self._doorway.settings)
        carrier.local = local
        await self._session.join(carrier)


def _sources(carrier: Carrier) -> set[str]:
    """The addresses from which the system sends what takes the direct path of ``carrier``."""
    paths = carrier.connection.paths()
    return {source_address(path.remote) or "" for path in paths if path.selected and not path.relayed}
