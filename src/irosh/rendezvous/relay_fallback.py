"""Meeting over an iroh relay, for sessions to which ICE gave no path. iroh's own hole punching goes on from there.

A relay serves only the newest endpoint of one key, so a node has one :class:`RelayFallback` for all its sessions, and
in it one endpoint, bound when it is first needed. The controlling side of a session dials. The other may not have been
told of the session yet (somebody carries the answer by hand), so it says when it is ready, as the first thing on the
connection: one byte on a stream of its own. One byte back says that the dialling side takes this way, and not another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from irosh.core.bind_address import ANY_ADDRESS, bind_addresses
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.ice_description import MAX_RELAYS
from irosh.core.identity import short_id
from irosh.core.network_options import NetworkOptions
from irosh.rendezvous.dialling import dial_route
from irosh.transport.interfaces import MEETING_ALPN, ByteStream, Connection, Route, StreamReset
from irosh.transport.wheel import EndpointSettings, WheelEndpoint, bind_endpoint

log = logging.getLogger(__name__)

ONLINE_DEADLINE = 3.0
ATTEMPT = 8.0  # seconds of one dial, with the peer's word that it is ready
RETRY_PAUSE = 1.0
MAX_KNOWN_RELAYS = 32
MAX_WAITING = 32
UNCLAIMED_FOR = 2 * ATTEMPT
_READY, _TAKEN = b"\1", b"\2"
# With no other address there is no direct path to find, unless both nodes are on one machine.
_NO_DIRECT_PATH = ("127.0.0.1:0", "[::1]:0")


@dataclass(frozen=True)
class AtRelay:
    """A peer met at a relay, who waits to hear whether the connection is used."""

    connection: Connection
    _stream: ByteStream

    async def take(self) -> Connection:
        """Use it. ``IroshError`` if the peer has gone."""
        await self._stream.write(_TAKEN)
        await self._stream.finish()
        return self.connection


class RelayFallback:
    """``shared`` gives an endpoint of the node connected to relays, if there is one now. Its owner closes it."""

    def __init__(
        self,
        secret: bytes,
        options: NetworkOptions,
        shared: Callable[[], WheelEndpoint | None] = lambda: None,
    ) -> None:
        self._secret = secret
        self._options = options
        self._shared = shared
        self._own: WheelEndpoint | None = None
        self._binding = asyncio.Lock()
        self._acceptors: dict[WheelEndpoint, asyncio.Task[None]] = {}
        self._known_relays: dict[WheelEndpoint, set[str]] = {}
        self._expected: dict[str, list[asyncio.Future[Connection]]] = {}
        self._unclaimed: dict[str, Connection] = {}

    async def relays(self, wanted: tuple[str, ...] | None) -> tuple[str, ...]:
        """The relays at which peers find this node, given those ``wanted``; None: that public one which serves us."""
        if wanted is not None:
            return wanted[:MAX_RELAYS]
        endpoint = await self._endpoint()
        await endpoint.wait_relay(ONLINE_DEADLINE)
        return endpoint.route().relays[:MAX_RELAYS]

    async def accept_from(self, peer_id: str) -> Connection:
        """The connection of ``peer_id`` that it takes, once it has heard that it is expected. Waits for ever."""
        await self._endpoint()
        while True:
            connection = await self._next_from(peer_id)
            try:
                stream = await connection.open_stream()
                await stream.write(_READY)
                await stream.finish()
                if await stream.read_exactly(len(_TAKEN)) == _TAKEN:
                    return connection
                connection.close()
            except (IroshError, EOFError, StreamReset) as error:
                connection.close()
                log.debug("%s by relay: not taken: %s", short_id(peer_id), error)
            except BaseException:
                connection.close()
                raise

    async def dial(
        self, peer_id: str, relays: Sequence[str], *, patience: float, on_failure: Callable[[IroshError], None]
    ) -> AtRelay:
        """Meet ``peer_id`` at one of ``relays``, tried again for ``patience`` seconds.

        ``on_failure`` hears of every attempt that failed. ``IroshError``: why the last one did (unreachable,
        relay-unreachable, relay-denied, …).
        """
        endpoint = await self._endpoint()
        route = Route(peer_id, tuple([url for url in relays if await self._knows(endpoint, url)]))
        loop = asyncio.get_running_loop()
        end = loop.time() + patience
        while True:
            try:
                return await self._attempt(endpoint, route)
            except IroshError as error:
                log.debug("%s by relay: %s", short_id(peer_id), error.message)
                on_failure(error)
                if loop.time() + RETRY_PAUSE > end:
                    raise
            await asyncio.sleep(RETRY_PAUSE)

    async def close(self) -> None:
        """Close what belongs to this object."""
        acceptors = list(self._acceptors.values())
        self._acceptors.clear()
        for acceptor in acceptors:
            acceptor.cancel()
        await asyncio.gather(*acceptors, return_exceptions=True)
        for unclaimed in self._unclaimed.values():
            unclaimed.close()
        self._unclaimed.clear()
        self._known_relays.clear()
        if self._own is not None:
            await self._own.close()
            self._own = None

    async def _next_from(self, peer_id: str) -> Connection:
        early = self._unclaimed.pop(peer_id, None)
        if early is not None and not early.is_closed:
            return early
        waiter: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._expected.setdefault(peer_id, []).append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                waiter.result().close()
            raise
        finally:
            self._expected[peer_id].remove(waiter)
            if not self._expected[peer_id]:
                del self._expected[peer_id]

    async def _attempt(self, endpoint: WheelEndpoint, route: Route) -> AtRelay:
        connection: Connection | None = None
        try:
            async with asyncio.timeout(ATTEMPT):
                connection = await dial_route(route, lambda way: endpoint.connect(way, MEETING_ALPN), self._probe)
                stream = await connection.accept_stream()
                if await stream.read_exactly(len(_READY)) != _READY:
                    raise IroshError(ErrorCode.PROTOCOL, "the peer says something else than that it is ready")
                return AtRelay(connection, stream)
        except TimeoutError:
            _close(connection)
            where = ", ".join(route.relays)
            raise IroshError(ErrorCode.UNREACHABLE, f"the peer is not at its relay ({where})") from None
        except (EOFError, StreamReset):
            _close(connection)
            raise IroshError(ErrorCode.PROTOCOL, "the peer ended the stream that says that it is ready") from None
        except BaseException:
            _close(connection)
            raise

    async def _probe(self, url: str) -> IroshError | None:
        from irosh.transport.relay.probe import probe_relay

        return await probe_relay(url, self._options.relay_token(url), None)

    async def _knows(self, endpoint: WheelEndpoint, url: str) -> bool:
        """Make the relay at ``url`` known to ``endpoint``. False once peers have named too many."""
        known = self._known_relays.setdefault(endpoint, set(self._options.relays or ()))
        if url not in known:
            if len(known) >= MAX_KNOWN_RELAYS:
                return False
            known.add(url)
            await endpoint.add_relay(url, self._options.relay_token(url))
        return True

    async def _endpoint(self) -> WheelEndpoint:
        async with self._binding:
            endpoint = self._shared() or self._own
            if endpoint is None:
                endpoint = self._own = await bind_endpoint(self._settings())
            if endpoint not in self._acceptors:
                endpoint.allow(MEETING_ALPN)
                acceptor = asyncio.create_task(self._accept(endpoint), name="accept by relay")
                self._acceptors[endpoint] = acceptor
            return endpoint

    def _settings(self) -> EndpointSettings:
        options = self._options
        host, _, _port = options.bind.rpartition(":")
        anywhere = host in ("0.0.0.0", "[::]")  # noqa: S104 - a comparison
        direct = bind_addresses(ANY_ADDRESS if anywhere else f"{host}:0")
        return EndpointSettings(
            secret=self._secret,
            bind=_NO_DIRECT_PATH if options.relay_only else direct,
            relays=options.relays,
            relay_token=options.relay_token,
            discovery=False,
            alpn=MEETING_ALPN,
        )

    async def _accept(self, endpoint: WheelEndpoint) -> None:
        async with asyncio.TaskGroup() as group:
            while (connection := await endpoint.accept(MEETING_ALPN)) is not None:
                self._sort(connection, group)
                del connection  # the engine keeps its port as long as we keep any connection

    def _sort(self, connection: Connection, group: asyncio.TaskGroup) -> None:
        for waiter in self._expected.get(connection.peer_id, ()):
            if not waiter.done():
                waiter.set_result(connection)
                return
        if len(self._unclaimed) >= MAX_WAITING:
            connection.close(IroshError(ErrorCode.BUSY, "too many connections wait here for a session"))
            return
        _close(self._unclaimed.pop(connection.peer_id, None))
        self._unclaimed[connection.peer_id] = connection
        group.create_task(self._forget(connection))

    async def _forget(self, connection: Connection) -> None:
        """Close a connection that nobody claims."""
        with suppress(TimeoutError):
            async with asyncio.timeout(UNCLAIMED_FOR):
                await connection.wait_closed()
        if self._unclaimed.get(connection.peer_id) is connection:
            del self._unclaimed[connection.peer_id]
            connection.close(IroshError(ErrorCode.UNKNOWN_PEER, "no session with this machine is under way here"))


def _close(connection: Connection | None) -> None:
    if connection is not None:
        connection.close()
