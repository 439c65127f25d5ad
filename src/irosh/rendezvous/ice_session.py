"""One session of the ICE modes: from candidates to one connection, with all that it takes, freed when that ends.

ICE finds a pair of addresses; then its sockets are closed and a QUIC endpoint is bound to the same local address, for
which the NATs on the way still have their mappings. Where the pair goes by a TURN server of ours, the allocation stays
and QUIC talks through it. Where ICE finds nothing, both sides meet over an iroh relay.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Literal

from aioice.ice import CandidatePair

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.ice_description import IceDescription
from irosh.core.identity import Identity, short_id
from irosh.core.network_options import NetworkOptions
from irosh.rendezvous.ice_agent import NEGOTIATION_DEADLINE, IceAgent
from irosh.rendezvous.ice_failure import in_vain, is_hopeless, no_path
from irosh.rendezvous.ice_gathering import Gathered, gather, mapping_changed
from irosh.rendezvous.relay_fallback import RelayFallback
from irosh.rendezvous.turn_shim import LOOPBACK, TurnShim, close_allocation
from irosh.transport.interfaces import Connection, Route
from irosh.transport.tasks import task_group, to_the_end
from irosh.transport.wheel import EndpointSettings, WheelEndpoint, bind_endpoint
from irosh.transport.wheel_connection import WheelConnection

log = logging.getLogger(__name__)

RELAY_AFTER = 1.0  # seconds that ICE has for itself
RELAY_WAIT = 20.0  # for a peer that tries, and tries again
GRACE = 3.0  # that it has left once the peers have met at the relay
HOPELESS_GRACE = 0.5  # where theory sees no way but that of one local network
QUIC_DEADLINE = 6.0
JOIN_DEADLINE = 30.0
Way = Literal["direct", "turn", "relay"]
# The peer's endpoint takes as long as ours to be bound; its first packet lost would cost a second.
_BINDING = 0.03


class IceSession:
    """``description`` is for the peer; :meth:`join` with its description meets it; :meth:`close` frees everything.

    ``problems`` is what STUN and TURN servers and relays did not do while gathering; ``way`` is how the peers
    met.
    """

    def __init__(
        self, identity: Identity, options: NetworkOptions, agent: IceAgent, fallback: RelayFallback | None
    ) -> None:
        self._identity = identity
        self._options = options
        self._agent = agent
        self._fallback = fallback if options.relays != () else None
        self._gathered = Gathered()
        self._endpoint: WheelEndpoint | None = None
        self._shim: TurnShim | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._changing_hands = False
        self._relay_error: IroshError | None = None
        self.way: Way = "direct"
        self.description = IceDescription(identity.id, agent.local_username, agent.local_password)
        self.problems: list[IroshError] = []

    @classmethod
    async def gather(
        cls, identity_secret: bytes, options: NetworkOptions, *, controlling: bool, fallback: RelayFallback | None
    ) -> IceSession:
        """A session with its candidates gathered, for at most a few seconds. The controlling side dials."""
        agent = IceAgent(controlling=controlling)
        session = cls(Identity.from_secret(identity_secret), options, agent, fallback)
        try:
            await session._gather()
        except BaseException:
            await to_the_end(session.close())
            raise
        return session

    async def stale(self) -> None:
        """Keep the NAT's mappings alive before :meth:`join`; return once the description does not hold any more."""
        await mapping_changed(self._gathered)

    def in_vain(self, remote: IceDescription) -> IroshError | None:
        """Why there is no way to ``remote``, where that is certain before anybody tries."""
        return in_vain(self.description, remote, relay_forbidden=self._fallback is None)

    async def join(self, remote: IceDescription, *, patience: float = 0.0) -> Connection:
        """The connection to ``remote``, whose identity is proven. Once; the session is closed when it fails.

        ``patience`` is how many seconds the peer may take to learn of this session; from then on it is 30 at most.
        ``IroshError`` (no-path, unreachable, relay-unreachable, identity-mismatch, …).
        """
        connection: Connection | None = None
        try:
            if remote.endpoint_id == self._identity.id:
                raise IroshError(ErrorCode.UNKNOWN_TARGET, "this is this machine's own description")
            try:
                async with asyncio.timeout(patience + JOIN_DEADLINE):
                    connection = await self._meet(remote, patience)
            except TimeoutError:
                raise self._no_path(remote) from None
            if self.way == "relay":
                await self._free()
        except BaseException:
            if connection is not None:
                connection.close()
            await to_the_end(self._free())
            raise
        self._watcher = asyncio.create_task(self._free_when_over(connection), name="session")
        return connection

    async def wait_closed(self) -> None:
        """Return once the connection has ended and everything is freed."""
        if self._watcher is not None:
            await asyncio.wait((self._watcher,))

    async def close(self) -> None:
        """Close the connection and free everything. Harmless when done before."""
        if self._watcher is not None:
            watcher, self._watcher = self._watcher, None  # its traceback would hold this object, and so the port
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        await self._free()

    # --- gathering

    async def _gather(self) -> None:
        async with task_group() as group:
            gathering = group.create_task(gather(self._agent, self._options))
            asking = group.create_task(self._relays())
        self._gathered, relays = gathering.result(), asking.result()
        self.problems += self._gathered.problems
        self.description = IceDescription(
            self._identity.id,
            self._agent.local_username,
            self._agent.local_password,
            self._gathered.candidates,
            relays,
        )

    async def _relays(self) -> tuple[str, ...]:
        if self._fallback is None:
            return ()
        try:
            relays = await self._fallback.relays(self._options.relays)
        except IroshError as error:
            self.problems.append(error)
            return ()
        if not relays:
            hint = "is this machine on the internet? --relay names a relay of your own, --no-relay silences this"
            self.problems.append(IroshError(ErrorCode.RELAY_UNREACHABLE, "no public relay answers", hint))
        return relays

    # --- meeting

    async def _meet(self, remote: IceDescription, patience: float) -> Connection:
        """ICE and the relay side by side; the controlling side decides which, ICE before the relay if it is in time."""
        direct = asyncio.ensure_future(self._direct(remote, patience))
        relayed = asyncio.ensure_future(
            self._dial_relay(remote, direct, patience) if self._agent.ice_controlling else self._accept_relay(remote)
        )
        chosen: Connection | None = None
        try:
            await asyncio.wait((direct, relayed), return_when=asyncio.FIRST_COMPLETED)
            if not _usable(direct) and not _usable(relayed):
                await asyncio.wait((direct, relayed))
            chosen = _usable(direct) or _usable(relayed)
            if chosen is None:
                raise self._failure(remote, _error(direct), _error(relayed))
            if chosen is _usable(relayed):
                self.way = "relay"
            return chosen
        finally:
            for way in (direct, relayed):
                way.cancel()
            for result in await asyncio.gather(direct, relayed, return_exceptions=True):
                if not isinstance(result, BaseException) and result is not chosen:
                    result.close()

    async def _direct(self, remote: IceDescription, patience: float) -> Connection:
        if not remote.candidates or not self._gathered.candidates:
            raise IroshError(ErrorCode.NO_PATH, "one side has no addresses to try")
        try:
            pair = await self._agent.negotiate(
                remote, patience=patience, hopeless=is_hopeless(self.description, remote)
            )
        except TimeoutError:
            raise self._no_path(remote) from None
        self._changing_hands = True
        self.way = "turn" if self._agent.is_relayed(pair) else "direct"
        await self._agent.switch(pair)
        target = await self._hand_over(pair)
        assert self._endpoint is not None
        try:
            async with asyncio.timeout(QUIC_DEADLINE):
                if self._agent.ice_controlling:
                    await asyncio.sleep(_BINDING)
                    connection = await self._endpoint.connect(Route(remote.endpoint_id, (), (target,)))
                else:
                    connection = await self._accept(remote.endpoint_id, self._endpoint)
                if self.way == "turn":
                    connection.via = f"turn:{_allocation_host(pair)}"
                return connection
        except TimeoutError:
            raise IroshError(
                ErrorCode.UNREACHABLE,
                f"ICE found a way to {short_id(remote.endpoint_id)}…, but QUIC does not get through",
            ) from None

    async def _hand_over(self, pair: CandidatePair) -> str:
        """Bind the QUIC endpoint in the place of the agent's sockets. Returns where the peer is."""
        remote = _socket_text(*pair.remote_addr)
        relayed = pair.local_candidate.type == "relay"
        if relayed:
            self._shim = await TurnShim.open(self._agent.detach(pair.protocol), pair.remote_addr)
            remote = self._shim.address
        await self._close_agent()
        bind = LOOPBACK if relayed else _bind_only(*pair.local_addr)
        log.info("session: %s to %s", bind[0], _socket_text(*pair.remote_addr))
        self._endpoint = await bind_endpoint(EndpointSettings(self._identity.secret, bind=bind, relays=()))
        if self._shim is not None:
            self._shim.endpoint = _loopback_of(self._endpoint.route().addresses)
        return remote

    async def _accept(self, peer_id: str, endpoint: WheelEndpoint) -> WheelConnection:
        while (connection := await endpoint.accept()) is not None:
            if connection.peer_id == peer_id:
                return connection
            connection.close(IroshError(ErrorCode.UNKNOWN_PEER, "this address is for a session with another machine"))
        raise IroshError(ErrorCode.UNREACHABLE, "the endpoint was closed")

    def _relay_allowed(self, remote: IceDescription) -> RelayFallback:
        if self._fallback is None or not self.description.relays or not remote.relays:
            raise IroshError(ErrorCode.NO_PATH, "no relay is allowed by both sides")
        return self._fallback

    async def _accept_relay(self, remote: IceDescription) -> Connection:
        fallback = self._relay_allowed(remote)
        async with asyncio.timeout(RELAY_WAIT):
            return await fallback.accept_from(remote.endpoint_id)

    async def _dial_relay(
        self, remote: IceDescription, direct: asyncio.Future[Connection], patience: float
    ) -> Connection:
        """Meet at the relay, and take that way unless ICE finds one soon after."""
        fallback = self._relay_allowed(remote)
        if remote.candidates and self.description.candidates:
            await asyncio.wait((direct,), timeout=RELAY_AFTER)
        met = await fallback.dial(
            remote.endpoint_id,
            remote.relays,
            patience=patience + NEGOTIATION_DEADLINE,
            on_failure=self._note_relay_error,
        )
        try:
            # The peer is there, so there is nothing more to wait for than for ICE itself.
            turn = any(" typ relay" in line for line in (*self.description.candidates, *remote.candidates))
            grace = HOPELESS_GRACE if not turn and is_hopeless(self.description, remote) else GRACE
            await asyncio.wait((direct,), timeout=grace)
            if self._changing_hands:
                await asyncio.wait((direct,), timeout=QUIC_DEADLINE + 1)
            return await met.take()
        except BaseException:
            met.connection.close()
            raise

    def _note_relay_error(self, error: IroshError) -> None:
        self._relay_error = error

    # --- the end

    def _failure(
        self, remote: IceDescription, direct: BaseException | None, relayed: BaseException | None
    ) -> BaseException:
        for error in (direct, relayed):
            if error is not None and not isinstance(error, IroshError | TimeoutError):
                return error
        if isinstance(direct, IroshError) and direct.code is not ErrorCode.NO_PATH:
            return direct  # ICE did find a way
        return self._no_path(remote)

    def _no_path(self, remote: IceDescription) -> IroshError:
        return no_path(
            self.description,
            remote,
            heard=self._agent.heard.is_set(),
            relay_forbidden=self._fallback is None,
            relay_error=self._relay_error,
        )

    async def _free_when_over(self, connection: Connection) -> None:
        try:
            await connection.wait_closed()
        finally:
            connection.close()
            await to_the_end(self._free())

    async def _free(self) -> None:
        await self._close_agent()
        # Let go of the objects as well: the engine keeps the UDP port as long as there is one.
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            await endpoint.close()
        shim, self._shim = self._shim, None
        if shim is not None:
            await shim.close()

    async def _close_agent(self) -> None:
        allocations = [base for base in self._agent.bases if base.local_candidate.type == "relay"]
        for allocation in allocations:
            self._agent.detach(allocation)
        await asyncio.gather(self._agent.close(), *(close_allocation(allocation) for allocation in allocations))


def _usable(way: asyncio.Future[Connection]) -> Connection | None:
    if not way.done() or way.cancelled() or way.exception() is not None or way.result().is_closed:
        return None
    return way.result()


def _error(way: asyncio.Future[Connection]) -> BaseException | None:
    """Why a way that has ended cannot be used."""
    return way.exception() or way.result().close_reason()


def _allocation_host(pair: CandidatePair) -> str:
    """The address of the TURN server that a pair goes by: ours if we have one, else the peer's."""
    local = pair.local_candidate
    return str(local.host if local.type == "relay" else pair.remote_addr[0])


def _socket_text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bind_only(host: str, port: int) -> tuple[str, str]:
    """That address, and loopback of the other family, which the engine would bind to all interfaces otherwise."""
    return _socket_text(host, port), "127.0.0.1:0" if ":" in host else "[::1]:0"


def _loopback_of(addresses: Sequence[str]) -> tuple[str, int]:
    address = next(address for address in addresses if address.startswith("127."))
    host, _, port = address.rpartition(":")
    return host, int(port)
