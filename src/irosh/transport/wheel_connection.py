"""Connections and streams of the wheel, the official ``iroh`` bindings."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

from irosh.core.errors import IroshError
from irosh.transport import splice, wheel_splice
from irosh.transport.close_reason import CLOSE_MOVED, decode_reason, encode_reason
from irosh.transport.interfaces import (
    ConnectionLost,
    Path,
    ReceivingTap,
    SendingTap,
    StreamReset,
    Told,
    Traffic,
)
from irosh.transport.reading import begin_read
from irosh.transport.wheel_bindings import CALLS, error_text, iroh
from irosh.transport.wheel_reading import Reads, Writes

T = TypeVar("T")

DATAGRAM_SIZE_HOLDS = 0.1  # seconds; one that is too large for the path meanwhile is refused by the engine
_RESET = re.compile(r"\b(?:Reset|Stopped)\((\d+)\)")


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
            if "FinishedEarly" in error_text(error):
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
        text = error_text(error)
        if match := _RESET.search(text):
            return StreamReset(int(match[1]))
        if "ClosedStream" in text:
            return StreamReset(0)
        return self._connection.close_reason()


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
