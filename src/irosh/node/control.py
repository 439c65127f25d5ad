"""The control socket: how commands and faces talk to the running node.

A client connects, sends one request message ``{"op": NAME, …}`` and gets events and one final answer
``{"ok": true, …}`` or ``{"ok": false, "error": {…}}``. Closing the connection cancels the operation.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import select
import socket
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from irosh.core.errors import ErrorCode, IroshError
from irosh.node.control_wire import (
    CONTROL_VERSION,
    PREFIX,
    Kind,
    pack,
    pack_message,
    parse_message,
    parse_prefix,
)
from irosh.transport.socket_owner import is_own
from irosh.transport.tasks import first_to_end, task_group

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R", bound=msgspec.Struct)

REQUEST_DEADLINE = 10.0
_BACKLOG = 128
_RECEIVE = 64 * 1024  # bytes of several frames, as of keys that were typed at once
MAX_PASTED = 4  # blocks that wait to be taken
LOOK = 0.5  # seconds between two looks whether a client that is not read from is still there
MAX_DESCRIPTORS = 1  # with one frame; what is more the system closes


class Gone(Exception):
    """The client of an operation has closed its end."""


class Channel:
    """The node's end of one client connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._writing = asyncio.Lock()
        self._received = bytearray()  # of a frame that is not complete, or whose reader was cancelled
        self._unsent = memoryview(b"")  # of a frame whose sender was cancelled: the next begins behind it
        self._descriptors: asyncio.Queue[int] | None = None
        self._pasted: asyncio.Queue[str] = asyncio.Queue(MAX_PASTED)
        self.on_reply: Callable[[dict[str, Any]], None] | None = None
        """Gets the client's replies to questions (:mod:`irosh.node.questions`), while any task receives."""

    async def receive(self) -> tuple[Kind, bytes]:
        """The next frame from the client but for pasted blocks and replies. :class:`Gone` when it has left."""
        while True:
            await self._have(PREFIX.size)
            length, kind = parse_prefix(bytes(self._received[: PREFIX.size]))
            end = PREFIX.size + length
            await self._have(end)
            payload = bytes(self._received[PREFIX.size : end])
            del self._received[:end]
            if kind is not Kind.MESSAGE or not (self._was_pasted(payload) or self._was_reply(payload)):
                return kind, payload

    async def pasted(self) -> str:
        """The next block that the client sends, while another task receives."""
        return await self._pasted.get()

    def _was_pasted(self, payload: bytes) -> bool:
        if b'"paste"' not in payload:
            return False
        block = parse_message(payload).get("paste")
        if not isinstance(block, str):
            return False
        if self._pasted.full():
            self._pasted.get_nowait()
        self._pasted.put_nowait(block)
        return True

    def _was_reply(self, payload: bytes) -> bool:
        if b'"reply"' not in payload or self.on_reply is None:
            return False
        reply = parse_message(payload).get("reply")
        if not isinstance(reply, dict):
            return False
        self.on_reply(reply)
        return True

    async def receive_message(self) -> dict[str, Any]:
        """The next frame, which must be a message."""
        kind, payload = await self.receive()
        if kind is not Kind.MESSAGE:
            raise IroshError(ErrorCode.PROTOCOL, f"expected a message, got {kind.name}")
        return parse_message(payload)

    async def send(self, kind: Kind, payload: bytes) -> None:
        """Send one frame, waiting while the client is slow."""
        await self._send_all(pack(kind, payload))

    async def event(self, name: str, **fields: Any) -> None:
        """Report progress."""
        await self._send_all(pack_message({"event": name, **fields}))

    async def answer(self, fields: Mapping[str, Any] | None = None) -> None:
        """The final, good answer."""
        await self._send_all(pack_message({"ok": True, **(fields or {})}))

    async def fail(self, error: IroshError) -> None:
        """The final, bad answer."""
        await self._send_all(pack_message({"ok": False, "error": error.to_dict()}))

    async def ask(self, name: str, **fields: Any) -> dict[str, Any]:
        """Ask the client something, and return what it answers. For when no other task receives."""
        await self.event(name, **fields)
        while True:
            kind, payload = await self.receive()
            if kind is Kind.MESSAGE and isinstance(answer := parse_message(payload).get("answer"), dict):
                return answer

    async def while_connected(self, work: Coroutine[Any, Any, T]) -> T:
        """Do ``work``, cancelled with :class:`Gone` when the client leaves. For operations that read nothing more."""
        result: T = await first_to_end(work, self._wait_gone())
        return result

    async def _wait_gone(self) -> None:
        with contextlib.suppress(IroshError):
            while True:
                await self.receive()
        raise Gone

    @contextlib.asynccontextmanager
    async def minding(self) -> AsyncIterator[None]:
        """For a block that receives nothing itself: :class:`Gone` soon after the client has left for good.

        What it had sent before may wait unread, so that no read would tell; a little of that is still taken.
        """
        watched = select.poll()
        watched.register(self._socket, 0)  # for nothing but POLLHUP, which event loops do not wait for alone
        timer: asyncio.TimerHandle

        def look() -> None:
            nonlocal timer
            if watched.poll(0):
                deadline.reschedule(self._loop.time() + LOOK)
            else:
                timer = self._loop.call_later(LOOK, look)

        timer = self._loop.call_later(LOOK, look)
        try:
            async with asyncio.timeout(None) as deadline:
                yield
        except TimeoutError:
            if not deadline.expired():
                raise
            raise Gone from None
        finally:
            timer.cancel()

    @contextlib.contextmanager
    def descriptors(self) -> Iterator[asyncio.Queue[int]]:
        """File descriptors that the client sends along with its frames (SCM_RIGHTS), from now on.

        Who takes one from the queue owns it.
        """
        self._descriptors = asyncio.Queue()
        try:
            yield self._descriptors
        finally:
            while not self._descriptors.empty():
                os.close(self._descriptors.get_nowait())
            self._descriptors = None

    async def _receive_some(self, limit: int) -> bytes:
        if self._descriptors is None:
            return await self._loop.sock_recv(self._socket, limit)
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._socket, limit, MAX_DESCRIPTORS)
            except BlockingIOError:
                await self._ready(self._loop.add_reader, self._loop.remove_reader)
                continue
            for each in descriptors:
                self._descriptors.put_nowait(each)
            return data

    async def _ready(self, add: Callable[..., None], remove: Callable[[socket.socket], object]) -> None:
        ready = self._loop.create_future()
        add(self._socket, _set, ready)
        try:
            await ready
        finally:
            remove(self._socket)

    async def _have(self, size: int) -> None:
        while len(self._received) < size:
            try:
                chunk = await self._receive_some(max(_RECEIVE, size - len(self._received)))
            except OSError:
                raise Gone from None
            if not chunk:
                raise Gone
            self._received += chunk

    async def _send_all(self, frame: bytes) -> None:
        async with self._writing:
            try:
                await self._send_rest()
                self._unsent = memoryview(frame)
                await self._send_rest()
            except OSError:
                raise Gone from None

    async def _send_rest(self) -> None:
        while self._unsent:
            try:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
            except (BlockingIOError, InterruptedError):
                await self._ready(self._loop.add_writer, self._loop.remove_writer)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def parsed_request(request: dict[str, Any], kind: type[R]) -> R:
    """The arguments of an operation as its own typed message. ``IroshError`` (protocol-error) when malformed."""
    try:
        return msgspec.convert(request, kind, str_keys=True)
    except msgspec.ValidationError as error:
        raise IroshError(ErrorCode.PROTOCOL, f"malformed request: {error}") from None


Operation = Callable[[Channel, dict[str, Any]], Awaitable[None]]
Recovery = Callable[[Channel, IroshError], Awaitable[bool]]
"""Asks the client for what an operation has failed for want of; True: it may be tried again."""
MAX_RECOVERIES = 3  # of one operation


class ControlServer:
    """Serves the operations on a Unix socket that only this user can open."""

    def __init__(self, path: Path, operations: Mapping[str, Operation]) -> None:
        self.recover: Recovery | None = None
        self._path = path
        self._operations = operations
        self.attached = 0
        self._changed = asyncio.Event()

    def bind(self) -> socket.socket:
        """The listening socket. Only the holder of the node lock calls this, so a socket left behind is dead."""
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(self._path.lstat().st_mode):
                self._path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        previous = os.umask(0o177)
        try:
            listener.bind(str(self._path))
        except OSError as error:
            listener.close()
            code = ErrorCode.DISK_FULL if error.errno == errno.ENOSPC else ErrorCode.STATE_UNUSABLE
            raise IroshError(code, f"cannot make the control socket {self._path}: {error.strerror}") from error
        finally:
            os.umask(previous)
        listener.listen(_BACKLOG)
        return listener

    async def serve(self, listener: socket.socket) -> None:
        """Serve clients until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            async with task_group() as group:
                while True:
                    try:
                        client, _ = await loop.sock_accept(listener)
                    except OSError as error:
                        if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                            raise
                        log.warning("control socket: %s", error.strerror)
                        await asyncio.sleep(0.1)  # let other clients leave; there is no event to wait for
                        continue
                    client.setblocking(False)
                    if sys.platform != "linux" or is_own(client):  # the socket's mode says so too
                        group.create_task(self._serve_client(client))
                    else:
                        client.close()
        finally:
            listener.close()
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()

    async def wait_unused(self) -> None:
        """Return once no client is attached."""
        while self.attached:
            self._changed.clear()
            await self._changed.wait()

    async def _serve_client(self, client: socket.socket) -> None:
        self.attached += 1
        try:
            await self._serve_request(Channel(client))
        except Gone:
            pass
        finally:
            client.close()
            self.attached -= 1
            self._changed.set()

    async def _serve_request(self, channel: Channel) -> None:
        try:
            async with asyncio.timeout(REQUEST_DEADLINE):
                request = await channel.receive_message()
            operation = self._operations.get(str(request.get("op")))
            if request.get("version") != CONTROL_VERSION or operation is None:
                raise IroshError(
                    ErrorCode.PROTOCOL,
                    f"the running node does not know {request.get('op')!r}",
                    "it runs another version of irosh: restart it",
                )
            await self._perform(operation, channel, request)
        except TimeoutError:
            await channel.fail(IroshError(ErrorCode.TIMEOUT, "no request arrived"))
        except IroshError as error:
            await channel.fail(error)
        except (Gone, asyncio.CancelledError):
            raise
        except Exception as error:
            log.exception("control operation failed")
            await channel.fail(IroshError(ErrorCode.INTERNAL, f"internal error: {error!r}", "see the node's log"))

    async def _perform(self, operation: Operation, channel: Channel, request: dict[str, Any]) -> None:
        """Once, and again after what was missing has been asked for, if the client says that it answers questions."""
        for _ in range(MAX_RECOVERIES):
            try:
                await operation(channel, request)
            except IroshError as error:
                if self.recover is None or request.get("answers") is not True:
                    raise
                if not await self.recover(channel, error):
                    raise
            else:
                return
        await operation(channel, request)
