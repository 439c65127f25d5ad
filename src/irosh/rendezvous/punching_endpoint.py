"""An endpoint whose outer address is known: asked by STUN from its very port before it is bound, and kept open since.

The NAT's mapping belongs to the port, so whoever has it next is seen from outside as STUN said (RFC 4787, REQ-1).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from irosh.core.bind_address import bind_addresses
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.network_options import NetworkOptions
from irosh.core.socket_spec import bracketed, split_host_port
from irosh.rendezvous.local_addresses import local_addresses
from irosh.rendezvous.stun import StunClient, Survey, show, survey
from irosh.transport.interfaces import Route
from irosh.transport.wheel import EndpointSettings, WheelEndpoint, bind_endpoint

log = logging.getLogger(__name__)

STUN_DEADLINE = 3.0
# Mappings of UDP must last 2 minutes (RFC 4787, REQ-5), but many last 30 s and some 20 s. One packet may get lost.
KEEPALIVE = 9.0
BURST = 0.1
BIND_TRIES = 4
_LOOPBACK = ("127.0.0.1", "::1")
_LOOPBACK_PREFIXES = ("127.0.0.1:", "[::1]:")
_ANY = ("0.0.0.0", "::")  # noqa: S104 - a comparison


@dataclass
class PunchingEndpoint:
    """``addresses``: where peers may reach it, the reflexive ones first. ``reflexive``: those of them that only STUN
    told. ``problems``: of the STUN servers.
    """

    endpoint: WheelEndpoint
    addresses: tuple[str, ...]
    reflexive: tuple[str, ...]
    problems: list[IroshError]
    _servers: tuple[str, ...]
    _keeping: asyncio.Task[None] | None = field(default=None)

    def keep_open(self) -> None:
        """From now on send a packet now and then, so that NATs keep the port's mapping while a person pastes."""
        if self._servers and self._keeping is None:
            self._keeping = asyncio.create_task(self._keep_open(), name="keep the NAT's mapping")

    async def _keep_open(self) -> None:
        # The engine sends no packets of ours. But it dials, and the first packet of that does: to the STUN servers,
        # which do not answer it, in search of an endpoint that does not exist.
        nobody = Route(Identity.generate().id, (), self._servers)
        while True:
            await asyncio.sleep(KEEPALIVE)
            with contextlib.suppress(TimeoutError, IroshError):
                async with asyncio.timeout(BURST):
                    await self.endpoint.connect(nobody)

    async def let_go(self) -> None:
        """End :meth:`keep_open`."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def close(self) -> None:
        """Close the endpoint."""
        await self.let_go()
        await self.endpoint.close()


def unseen(endpoint: WheelEndpoint) -> PunchingEndpoint:
    """An endpoint of which nobody was asked anything."""
    return PunchingEndpoint(endpoint, (), (), [], ())


async def bind_punching(identity: Identity, options: NetworkOptions, *, any_port: bool = False) -> PunchingEndpoint:
    """Bind as ``options.bind`` says, on any port if ``any_port``. ``IroshError`` (bind-failed, port-taken)."""
    bind = bind_addresses(options.bind)
    if any_port:
        bind = tuple(f"{bracketed(host)}:0" for host, _ in map(_host_and_port, bind))
    settings = EndpointSettings(secret=identity.secret, bind=bind, relays=())
    return await bind_seen(settings, options.stun_servers)


async def bind_seen(
    settings: EndpointSettings, stun_servers: Sequence[str], *, deadline: float = STUN_DEADLINE
) -> PunchingEndpoint:
    """Bind as ``settings`` say, after asking ``stun_servers`` for at most ``deadline`` seconds. ``IroshError``."""
    wanted = [_host_and_port(text) for text in settings.bind] or [(host, 0) for host in _ANY]
    tries = BIND_TRIES if all(port == 0 for _, port in wanted) else 1
    while True:
        tries -= 1
        try:
            return await _bind(settings, stun_servers, wanted, deadline)
        except IroshError as error:
            # Somebody else got the port between its two owners.
            if error.code is not ErrorCode.PORT_TAKEN or not tries:
                raise


async def _bind(
    settings: EndpointSettings, servers: Sequence[str], wanted: Sequence[tuple[str, int]], deadline: float
) -> PunchingEndpoint:
    clients = await _clients(wanted)
    own = local_addresses()
    try:
        surveys = await asyncio.gather(*(_seen(client, servers, deadline) for client in clients))
        bound = [client.local for client in clients]
    finally:
        await asyncio.gather(*(client.close() for client in clients))
    reflexive = [show(address) for found in surveys for address in found.mapped]
    local = [
        f"{bracketed(host)}:{port}"
        for bind, port in bound
        for host in ([str(each) for each in own if (each.version == 6) == (":" in bind)] if bind in _ANY else [bind])
    ]
    if any(host not in _LOOPBACK for host, _ in bound):
        local = [each for each in local if not each.startswith(_LOOPBACK_PREFIXES)]
    settings = replace(settings, bind=tuple(f"{bracketed(host)}:{port}" for host, port in bound))
    return PunchingEndpoint(
        await bind_endpoint(settings),
        tuple(dict.fromkeys([*reflexive, *local])),
        tuple(each for each in reflexive if each not in local),
        [problem for found in surveys for problem in found.problems] if not reflexive else [],
        tuple(show(binding.source) for found in surveys for binding in found.bindings.values()),
    )


async def _clients(wanted: Sequence[tuple[str, int]]) -> list[StunClient]:
    """A socket for each address, all on one port where none is asked for."""
    clients: list[StunClient] = []
    try:
        for host, port in wanted:
            try:
                clients.append(await StunClient.open(host, port or (clients[0].local[1] if clients else 0)))
            except IroshError:
                if not clients or port:
                    raise
                # No IPv6 on this machine; or the port is not free there, and that family does without one.
                log.debug("no socket on %s", host)
    except BaseException:
        await asyncio.gather(*(client.close() for client in clients))
        raise
    return clients


async def _seen(client: StunClient, servers: Sequence[str], deadline: float) -> Survey:
    """What the servers see, unless the socket cannot reach them anyway."""
    version = 6 if client.family == socket.AF_INET6 else 4
    reaches_out = client.local[0] not in _ANY or any(
        each.version == version and (each.version == 4 or each.is_global) for each in local_addresses()
    )
    return await survey(client, servers, deadline) if reaches_out and servers else Survey({}, [])


def _host_and_port(text: str) -> tuple[str, int]:
    host, port = split_host_port(text)
    return host.strip("[]"), int(port)
