"""The first engine: the official ``iroh`` bindings, with the byte path of :mod:`irosh.transport.fastpath`."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from iroh import iroh_ffi as iroh

from irosh.core.errors import ErrorCode, IroshError
from irosh.transport import fastpath, splice, wheel_freeing, wheel_splice
from irosh.transport.close_reason import CLOSE_MOVED, decode_reason, encode_reason
from irosh.transport.collecting import collect_soon
from irosh.transport.interfaces import (
    ALPN,
    ConnectionLost,
    Path,
    ReceivingTap,
    Route,
    SendingTap,
    StreamReset,
    Told,
    Traffic,
)
from irosh.transport.only_source import hear_only
from irosh.transport.reading import begin_read
from irosh.transport.wheel_calls import stream_calls
from irosh.transport.wheel_reading import Reads, Writes

_freeing, _ = wheel_freeing.install(iroh)
fastpath.install(iroh, _freeing)
CALLS = stream_calls(iroh)

T = TypeVar("T")

HANDSHAKE_DEADLINE = 10.0
CLOSE_DEADLINE = 3.0  # for the peers to hear of it
MAX_HANDSHAKES = 128  # under way at once; more wait in the engine's own queue
_RESET = re.compile(r"\b(?:Reset|Stopped)\((\d+)\)")


@dataclass(frozen=True)
class EndpointSettings:
    """How to bind an endpoint. ``relays`` None: iroh's public relays and, with ``discovery``, that; empty: no relay.

    ``accepts``: others may connect to it, for the protocol ``alpn``.
    """

    secret: bytes = field(repr=False)
    bind: tuple[str, ...] = ()
    relays: tuple[str, ...] | None = None
    relay_token: Callable[[str], str | None] = field(default=lambda _url: None, repr=False)
    accepts: bool = True
    discovery: bool = True
    alpn: bytes = ALPN


async def bind_endpoint(settings: EndpointSettings) -> WheelEndpoint:
    """Bind a UDP socket with an identity. Raises ``IroshError`` (bind-failed, invalid-address)."""
    options = iroh.EndpointOptions(preset=_Preset(settings))
    try:
        endpoint = await iroh.Endpoint.bind(options)
    except iroh.IrohError as error:
        text = _text(error)
        where = ", ".join(settings.bind) or "any address"
        if "in use" in text:
            raise IroshError(
                ErrorCode.PORT_TAKEN,
                f"UDP {where} is taken",
                "another node may use it; choose another --bind",
            ) from error
        raise IroshError(ErrorCode.BIND_FAILED, f"cannot bind UDP {where}: {_first_line(text)}") from error
    return WheelEndpoint(endpoint, (settings.alpn,) if settings.accepts else ())


def public_relays() -> tuple[str, ...]:
    """The URLs of iroh's public relays."""
    return tuple(url.rstrip("/") for url in iroh.RelayMode.default_mode().relay_map().urls())


class _Preset(iroh.Preset):  # type: ignore[misc]
    """Builds the endpoint; the options record alone can name only one address to bind."""

    def __init__(self, settings: EndpointSettings) -> None:
        self.settings = settings

    def apply(self, builder: Any) -> None:
        settings = self.settings
        if settings.relays is None and settings.discovery:
            builder.apply_n0()
        elif settings.relays is None:
            builder.apply_minimal()
            builder.relay_mode(iroh.RelayMode.default_mode())
        else:
            builder.apply_minimal()
            relay_map = iroh.RelayMap.empty()
            for url in settings.relays:
                relay_map.insert(_relay_config(url, settings.relay_token(url)))
            builder.relay_mode(iroh.RelayMode.custom(relay_map))
        if settings.accepts:
            builder.alpns([settings.alpn])
        builder.secret_key(settings.secret)
        for address in settings.bind:
            builder.bind_addr(address)


def _relay_config(url: str, token: str | None) -> Any:
    return iroh.RelayConfig(url=url, quic_port=None, auth_token=token)


class WheelStream:
    """A bidirectional QUIC stream of the wheel."""

    def __init__(self, connection: WheelConnection, stream: Any) -> None:
        self._connection = connection
        self._send = stream.send()
        self._recv = stream.recv()
        self._reads: Reads | None = None  # made when first needed: a splice has its own
        self._writes: Writes | None = None

    async def read(self, limit: int = 65536) -> bytes:
        try:
            data: bytes = await self._recv.read(limit)
        except iroh.IrohError as error:
            raise self._error(error) from None
        if not data:
            self._check_end()
        return data

    def begin_read(self, limit: int, told: Told) -> Callable[[], object]:
        if CALLS is None:
            return begin_read(self, limit, told)
        if self._reads is None:
            self._reads = Reads(CALLS, self._recv)
        self._reads.begin(limit, lambda outcome: told(self._outcome(outcome)))
        return self._reads.cancel

    def _outcome(self, outcome: bytes | Exception) -> bytes | Exception:
        """As :meth:`read` has it."""
        if isinstance(outcome, iroh.IrohError):
            return self._error(outcome)
        try:
            if not outcome:
                self._check_end()
        except ConnectionLost as lost:
            return lost
        return outcome

    async def read_exactly(self, size: int) -> bytes:
        try:
            data: bytes = await self._recv.read_exact(size)
        except iroh.IrohError as error:
            if "FinishedEarly" in _text(error):
                raise EOFError("the stream ended early") from None
            raise self._error(error) from None
        return data

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        try:
            if CALLS is None or len(data) > splice.LARGE_CHUNK:
                await self._send.write_all(data)
                return
            if self._writes is None:
                self._writes = Writes(CALLS, self._send)
            if self._writes.is_waiting:
                await self._send.write_all(data)
            else:
                await self._writes.write(data)
        except iroh.IrohError as error:
            raise self._error(error) from None

    async def finish(self) -> None:
        try:
            await self._send.finish()
        except iroh.IrohError as error:
            raise self._error(error) from None

    async def stop(self, code: int = 0) -> None:
        with contextlib.suppress(iroh.IrohError):
            await self._recv.stop(code)

    async def abort(self, code: int = 0) -> None:
        with contextlib.suppress(iroh.IrohError):
            await self._send.reset(code)
        await self.stop(code)

    async def copy_from(self, sock: socket.socket, tap: SendingTap) -> None:
        if CALLS is None:
            await splice.socket_to_stream(sock, self, tap)
            return
        with self._engine_errors():
            await wheel_splice.socket_to_stream(CALLS, sock, self._send, tap)

    async def copy_to(self, sock: socket.socket, tap: ReceivingTap) -> None:
        if CALLS is None:
            await splice.stream_to_socket(self, sock, tap)
            return
        with self._engine_errors():
            await wheel_splice.stream_to_socket(CALLS, self._recv, sock, tap)
        self._check_end()

    def _check_end(self) -> None:
        """The engine may tell the end of a stream when it was the connection that ended. ``ConnectionLost`` then."""
        if self._connection.is_closed and not (reason := self._connection.close_reason()).deliberate:
            raise reason

    @contextlib.contextmanager
    def _engine_errors(self) -> Iterator[None]:
        try:
            yield
        except iroh.IrohError as error:
            raise self._error(error) from None

    def _error(self, error: Any) -> Exception:
        text = _text(error)
        if match := _RESET.search(text):
            return StreamReset(int(match[1]))
        if "ClosedStream" in text:
            return StreamReset(0)
        return self._connection.close_reason()


DATAGRAM_SIZE_HOLDS = 0.1  # seconds; one that is too large for the path meanwhile is refused by the engine


class WheelConnection:
    """A QUIC connection of the wheel."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.peer_id: str = connection.remote_id().to_bytes().hex()
        self._end: str | None = None
        self._datagram_size, self._datagram_size_until = 0, 0.0
        self.via: str | None = None
        """What carries all its paths, if the engine does not know: a TURN server, another node."""
        self._broken: ConnectionLost | None = None

    async def open_stream(self) -> WheelStream:
        return WheelStream(self, await self._ask(self._connection.open_bi()))

    async def accept_stream(self) -> WheelStream:
        return WheelStream(self, await self._ask(self._connection.accept_bi()))

    @property
    def max_datagram_size(self) -> int:
        # Asked for each packet; asking the engine takes as long as sending one.
        now = time.monotonic()
        if now >= self._datagram_size_until:
            self._datagram_size = self._connection.max_datagram_size() or 0
            self._datagram_size_until = now + DATAGRAM_SIZE_HOLDS
        return self._datagram_size

    def send_datagram(self, data: bytes) -> bool:
        try:
            self._connection.send_datagram(data)
        except iroh.IrohError:
            return False
        return True

    async def receive_datagram(self) -> bytes:
        data: bytes = await self._ask(self._connection.read_datagram())
        return data

    def allow_streams(self, count: int, *, window: int) -> None:
        self._connection.set_max_concurrent_bi_streams(count)
        self._connection.set_receive_window(window)

    def paths(self) -> list[Path]:
        return [
            Path(
                remote=self.via or path.remote_addr,
                relayed=path.is_relay or self.via is not None,
                selected=path.is_selected,
                rtt=path.rtt_ms / 1000,
                bytes_sent=path.stats.udp_tx_bytes,
                bytes_received=path.stats.udp_rx_bytes,
                lost_packets=path.stats.lost_packets,
                mtu=path.stats.current_mtu,
            )
            for path in self._connection.paths()
        ]

    def traffic(self) -> Traffic:
        stats = self._connection.stats()
        return Traffic(
            bytes_sent=stats.udp_tx_bytes,
            bytes_received=stats.udp_rx_bytes,
            packets_sent=stats.udp_tx_datagrams,
            packets_received=stats.udp_rx_datagrams,
            bytes_lost=stats.lost_bytes,
            packets_lost=stats.lost_packets,
        )

    @property
    def is_closed(self) -> bool:
        return self._connection.close_reason() is not None

    def broke(self, reason: ConnectionLost) -> None:
        """Close it because what carries it has broken, which the engine does not know."""
        if not self.is_closed:
            self._broken = reason
            self.close(moved=True)

    def close_reason(self) -> ConnectionLost:
        if self._broken is not None:
            return self._broken
        # The first answer counts: once the endpoint is closed, the engine has another.
        if self._end is None:
            self._end = self._connection.close_reason()
        return decode_reason(self._end)

    async def wait_closed(self) -> ConnectionLost:
        end = await self._connection.closed()
        if self._end is None:
            self._end = end
        return self._broken or decode_reason(self._end)

    def close(self, error: IroshError | None = None, *, moved: bool = False) -> None:
        code, reason = (CLOSE_MOVED, b"") if moved else encode_reason(error)
        self._connection.close(code, reason)

    async def _ask(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except iroh.IrohError:
            raise self.close_reason() from None


class WheelEndpoint:
    """An endpoint of the wheel. Handshakes of incoming connections run side by side, each with a deadline."""

    def __init__(self, endpoint: Any, alpns: Iterable[bytes]) -> None:
        self._endpoint = endpoint
        self.id: str = endpoint.id().to_bytes().hex()
        # Bounded: who dials faster than the node admits waits in the engine.
        self._ready: dict[bytes, asyncio.Queue[WheelConnection | None]] = {
            alpn: asyncio.Queue(MAX_HANDSHAKES) for alpn in (ALPN, *alpns)
        }
        self._alpns = list(alpns)
        self._acceptor: asyncio.Task[None] | None = None

    def route(self) -> Route:
        addr = self._endpoint.addr()
        relay = addr.relay_url()
        addresses = tuple(dict.fromkeys([*addr.direct_addresses(), *self._bound_loopback()]))
        return Route(self.id, (relay.rstrip("/"),) if relay else (), addresses)

    def bound(self) -> tuple[str, ...]:
        """The socket addresses it is bound to, as asked for: possibly ``0.0.0.0:PORT`` and ``[::]:PORT``."""
        return tuple(self._endpoint.bound_sockets())

    def hear_only(self, source: tuple[str, int]) -> None:
        """Take no packets but those from ``source``, and no other way to the peer than the one it stands for."""
        hear_only(self.bound(), source)

    def _bound_loopback(self) -> Iterable[str]:
        """Sockets bound to one address; the engine's own list may be empty at first, or leave loopback out."""
        for bound in self._endpoint.bound_sockets():
            host = bound.rpartition(":")[0].strip("[]")
            if host not in ("0.0.0.0", "::"):  # noqa: S104 - a comparison, nothing is bound
                yield bound

    async def wait_addresses(self, timeout: float) -> None:
        """Return once a direct address is known, or after ``timeout`` seconds."""
        known = asyncio.Event()
        loop = asyncio.get_running_loop()

        class Watch(iroh.AddrChangeCallback):  # type: ignore[misc]
            async def on_change(self, addr: Any) -> None:
                if addr.direct_addresses():
                    loop.call_soon_threadsafe(known.set)

        iroh.uniffi_set_event_loop(loop)
        handle = self._endpoint.watch_addr(Watch())
        try:
            if not self.route().addresses:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(timeout):
                        await known.wait()
        finally:
            await handle.stop()

    async def wait_relay(self, timeout: float) -> bool:
        """True once a relay answers, False when none did within ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._endpoint.online()
        except TimeoutError:
            return False
        return True

    async def add_relay(self, url: str, token: str | None) -> None:
        await self._endpoint.insert_relay(_relay_config(url, token))

    async def add_address(self, address: str) -> None:
        """Tell peers of one more address, ``ip:port``, at which others see this endpoint."""
        await self._endpoint.add_external_addr(address)

    def allow(self, alpn: bytes) -> None:
        """Let others connect for one more protocol. Whoever does so accepts its connections."""
        if alpn not in self._alpns:
            self._alpns.append(alpn)
            self._ready.setdefault(alpn, asyncio.Queue(MAX_HANDSHAKES))
            self._endpoint.set_alpns(self._alpns)

    async def connect(self, route: Route, alpn: bytes = ALPN) -> WheelConnection:
        try:
            peer = iroh.EndpointId.from_bytes(bytes.fromhex(route.endpoint_id))
            relay = route.relays[0] if route.relays else None
            addr = iroh.EndpointAddr(peer, relay, list(route.addresses))
        except iroh.IrohError as error:
            raise IroshError(ErrorCode.INVALID_ADDRESS, f"cannot dial: {_first_line(_text(error))}") from error
        try:
            return WheelConnection(await self._endpoint.connect(addr, alpn))
        except iroh.IrohError as error:
            raise _dial_error(_text(error)) from error

    async def accept(self, alpn: bytes = ALPN) -> WheelConnection | None:
        if self._acceptor is None:
            self._acceptor = asyncio.create_task(self._accept_all(), name="accept")
        return await self._ready[alpn].get()

    def accept_no_more(self) -> None:
        """Let nobody else connect; those who have stay."""
        self._alpns.clear()
        self._endpoint.set_alpns([])

    async def _accept_all(self) -> None:
        places = asyncio.Semaphore(MAX_HANDSHAKES)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await places.acquire()
                    incoming = await self._endpoint.accept_next()
                    if incoming is None:
                        break
                    group.create_task(self._handshake(incoming, places))
        finally:
            for ready in self._ready.values():
                if ready.full():
                    ready.get_nowait()  # nobody will want it any more
                ready.put_nowait(None)

    async def _handshake(self, incoming: Any, places: asyncio.Semaphore) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_DEADLINE):
                accepting = await incoming.accept()
                connection = await accepting.connect()
        except (iroh.IrohError, TimeoutError):
            return  # a stranger that cannot finish TLS is none of ours
        finally:
            places.release()
        await self._ready[connection.alpn()].put(WheelConnection(connection))

    async def close(self) -> None:
        """Close all connections and the sockets.

        The engine keeps the UDP port for as long as any object of the endpoint is alive: its connections and their
        streams too. So the acceptor has to end by itself: a cancelled one would hold this object by its traceback.
        """
        with contextlib.suppress(iroh.IrohError, TimeoutError):
            async with asyncio.timeout(CLOSE_DEADLINE):
                await self._endpoint.close()
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            await asyncio.wait((acceptor,), timeout=CLOSE_DEADLINE)
            acceptor.cancel()
            await asyncio.gather(acceptor, return_exceptions=True)
        collect_soon()


def _text(error: Any) -> str:
    return str(error.message())


def _first_line(text: str) -> str:
    return text.strip().splitlines()[-1].strip() if text.strip() else "unknown error"


def _dial_error(text: str) -> IroshError:
    if (
        "InvalidCertificate" in text
        or "invalid peer certificate" in text
        or "the cryptographic handshake failed" in text
    ):
        return IroshError(
            ErrorCode.IDENTITY_MISMATCH,
            "the machine that answered does not have the expected identity",
            "its key changed, or something stands between: compare `irosh identity show` on the host",
        )
    if "timed out" in text:
        return IroshError(
            ErrorCode.UNREACHABLE,
            "the peer did not answer",
            "is `irosh host` running there, and can both machines reach a common network or relay?",
        )
    if "closed by peer" in text:
        return decode_reason(_first_line(text))
    return IroshError(ErrorCode.UNREACHABLE, f"cannot connect: {_first_line(text)}")
