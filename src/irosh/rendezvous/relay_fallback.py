"""Meeting over an iroh relay, for sessions to which ICE gave no path. iroh's own hole punching goes on from there.

A relay serves only the newest endpoint of one key, so a node has one :class:`RelayFallback` for all its sessions, and
in it one endpoint, bound when it is first needed. The controlling side of a session dials. The other may not have been
told of the session yet (somebody carries the answer by hand), so it says when it is ready, as the first thing on the
connection: one byte on a stream of its own. One byte back says that the dialling side takes this way, and not another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from irosh.core.bind_address import ANY_ADDRESS, bind_addresses
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.ice_description import MAX_RELAYS
from irosh.core.identity import short_id
from irosh.core.network_options import NetworkOptions
from irosh.rendezvous.dialling import dial_route
from irosh.transport.interfaces import Connection, Endpoint, Route, Stream, StreamReset
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
    _stream: Stream

    async def take(self) -> Connection:
        """Use it. ``IroshError`` if the peer has gone."""
        await self._stream.write(_TAKEN)
        await self._stream.finish()
        return self.connection


class RelayFallback:
    """``shared``: an endpoint of the node that is connected to relays already; whoever owns it accepts and closes."""

    def __init__(self, secret: bytes, options: NetworkOptions, shared: Endpoint | None = None) -> None:
        self._secret = secret
        self._options = options
        self._shared = shared
        self._own: WheelEndpoint | None = None
        self._binding = asyncio.Lock()
        self._acceptor: asyncio.Task[None] | None = None
        self._known_relays: set[str] = set(options.relays or ())
        self._expected: dict[str, list[asyncio.Future[Connection]]] = {}
        self._unclaimed: dict[str, Connection] = {}

    async def relays(self) -> tuple[str, ...]:
        """The relays at which peers find this node; of iroh's public ones that which serves us, if one answers."""
        if self._options.relays is not None:
            return self._options.relays[:MAX_RELAYS]
        endpoint = await self._endpoint()
        if isinstance(endpoint, WheelEndpoint):
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

    async def dial(self, peer_id: str, relays: Sequence[str], *, patience: float) -> AtRelay:
        """Meet ``peer_id`` at one of ``relays``, tried again for ``patience`` seconds.

        ``IroshError``: why the last attempt failed (unreachable, relay-unreachable, relay-denied, …).
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
                if loop.time() + RETRY_PAUSE > end:
                    raise
            await asyncio.sleep(RETRY_PAUSE)

    async def close(self) -> None:
        """Close the endpoint, if it is this object's own."""
        if self._acceptor is not None:
            self._acceptor.cancel()
            await asyncio.gather(self._acceptor, return_exceptions=True)
            self._acceptor = None
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

    async def _attempt(self, endpoint: Endpoint, route: Route) -> AtRelay:
        connection: Connection | None = None
        try:
            async with asyncio.timeout(ATTEMPT):
                connection = await dial_route(route, endpoint.connect, self._probe)
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

    async def _knows(self, endpoint: Endpoint, url: str) -> bool:
        """Make the relay at ``url`` known to ``endpoint``. False once a peer has named too many."""
        if url not in self._known_relays:
            if len(self._known_relays) >= MAX_KNOWN_RELAYS:
                return False
            self._known_relays.add(url)
            await endpoint.add_relay(url, self._options.relay_token(url))
        return True

    async def _endpoint(self) -> Endpoint:
        if self._shared is not None:
            return self._shared
        async with self._binding:
            if self._own is None:
                options = self._options
                ip, _, _port = options.bind.rpartition(":")
                anywhere = options.bind.startswith(("0.0.0.0:", "[::]:"))
                settings = EndpointSettings(
                    secret=self._secret,
                    bind=_NO_DIRECT_PATH
                    if options.relay_only
                    else bind_addresses(ANY_ADDRESS if anywhere else f"{ip}:0"),
                    relays=options.relays,
                    relay_token=options.relay_token,
                    discovery=False,
                )
                self._own = await bind_endpoint(settings)
                self._acceptor = asyncio.create_task(self._accept(self._own), name="accept by relay")
            return self._own

    async def _accept(self, endpoint: WheelEndpoint) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                while (connection := await endpoint.accept()) is not None:
                    self._sort(connection, group)
        finally:
            for unclaimed in self._unclaimed.values():
                unclaimed.close()
            self._unclaimed.clear()

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
