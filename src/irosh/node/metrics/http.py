"""Serves a node's metrics over HTTP: ``GET /metrics`` and nothing else, with tight limits and deadlines."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.listen_address import parse_listen_address
from irosh.core.socket_spec import Fault, bracketed
from irosh.node.metrics.prometheus import CONTENT_TYPE
from irosh.transport.relay.listener import listen
from irosh.transport.tasks import task_group

log = logging.getLogger(__name__)

PATH = "/metrics"
DEADLINE = 10.0  # seconds for a request and its answer
MAX_HEAD = 8 * 1024
MAX_CLIENTS = 16
_TEXT = "text/plain; charset=utf-8"


@asynccontextmanager
async def metrics_endpoint(address: str, render: Callable[[], Awaitable[bytes]]) -> AsyncIterator[str]:
    """Serve what ``render`` gives for the length of the block; yields the URL.

    ``IroshError``: invalid-address, port-taken, bind-failed.
    """
    try:
        host, port = parse_listen_address(address)
    except Fault as fault:
        raise IroshError(ErrorCode.INVALID_ADDRESS, f"metrics address {address}: {fault.message}", fault.hint) from None
    listeners = await listen(host, port)
    endpoint = _Endpoint(render, local=all(_is_loopback(each.getsockname()[0]) for each in listeners))
    shown, port = listeners[0].getsockname()[:2]
    try:
        serving = asyncio.create_task(endpoint.serve(listeners))
        try:
            yield f"http://{bracketed(shown)}:{port}{PATH}"
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
    finally:
        for each in listeners:
            each.close()


class _Endpoint:
    """``local``: it listens on loopback only, so no name but localhost may lead to it.

    A page in a browser on this machine could otherwise read the metrics, by a name of its own that leads here.
    """

    def __init__(self, render: Callable[[], Awaitable[bytes]], *, local: bool) -> None:
        self._render = render
        self._local = local
        self._loop = asyncio.get_running_loop()
        self._places = asyncio.Semaphore(MAX_CLIENTS)

    async def serve(self, listeners: Sequence[socket.socket]) -> None:
        """Until cancelled."""
        async with task_group() as group:
            for listener in listeners:
                group.create_task(self._accept(listener, group))

    async def _accept(self, listener: socket.socket, group: asyncio.TaskGroup) -> None:
        while True:
            await self._places.acquire()
            try:
                client, _ = await self._loop.sock_accept(listener)
            except OSError as error:
                self._places.release()
                log.warning("metrics: %s", error.strerror)
                await asyncio.sleep(0.2)  # until descriptors are free there is nothing to accept with
                continue
            client.setblocking(False)
            group.create_task(self._serve(client))

    async def _serve(self, client: socket.socket) -> None:
        try:
            async with asyncio.timeout(DEADLINE):
                await self._loop.sock_sendall(client, await self._answer(await self._head(client)))
                client.shutdown(socket.SHUT_WR)
        except (OSError, TimeoutError) as error:
            log.debug("metrics: %s", error)
        finally:
            client.close()
            self._places.release()

    async def _head(self, client: socket.socket) -> bytes | None:
        """The request without its body; None when it is too long or ends early."""
        head = bytearray()
        while b"\r\n\r\n" not in head:
            if len(head) >= MAX_HEAD:
                return None
            data = await self._loop.sock_recv(client, MAX_HEAD - len(head))
            if not data:
                return None
            head += data
        return bytes(head).partition(b"\r\n\r\n")[0]

    async def _answer(self, head: bytes | None) -> bytes:
        request = None if head is None else parse_request(head)
        if request is None:
            return _response(HTTPStatus.BAD_REQUEST, _TEXT, b"this is no request that is served here\n")
        if self._local and not _is_local_name(request.host):
            return _response(HTTPStatus.FORBIDDEN, _TEXT, b"only by an address or localhost\n")
        if request.method not in ("GET", "HEAD"):
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"only GET is served here\n", "Allow: GET, HEAD\r\n")
        if request.path != PATH:
            return _response(HTTPStatus.NOT_FOUND, _TEXT, f"the metrics are at {PATH}\n".encode())
        try:
            answer = _response(HTTPStatus.OK, CONTENT_TYPE, await self._render())
        except Exception:
            log.exception("metrics cannot be made")
            return _response(HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT, b"see the node's log\n")
        return answer if request.method == "GET" else answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """What matters of a request. ``host``: of its ``Host`` field, without the port; empty without one."""

    method: str
    path: str
    host: str


def parse_request(head: bytes) -> Request | None:
    """The request line and the fields behind it (RFC 9112); None for what is no request."""
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
        return None
    fields = [line.partition(":") for line in lines[1:]]
    if not all(colon and name and not name[-1].isspace() for name, colon, _ in fields):
        return None
    hosts = [value.strip() for name, _, value in fields if name.lower() == "host"]
    if len(hosts) > 1:
        return None
    host = hosts[0] if hosts else ""
    name = host.partition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    return Request(words[0], words[1].partition("?")[0], name.lower())


def _is_local_name(host: str) -> bool:
    return host in ("", "localhost") or _is_ip(host)


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def _response(status: HTTPStatus, content_type: str, body: bytes, more: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\nConnection: close\r\n{more}\r\n"
    )
    return head.encode() + body
