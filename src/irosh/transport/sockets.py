"""Sockets of programs, at the ends of streams: connecting to a service, listening for local programs."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from irosh.core.errors import ErrorCode, IroshError, system_message
from irosh.core.socket_spec import SocketSpec
from irosh.transport.unix_sockets import UnixListener, without_links

CONNECT_DEADLINE = 10.0
BACKLOG = 4096
UDP_BUFFER = 1 << 20  # bytes

Bound = tuple[SocketSpec, socket.socket]
"""A listener and where it listens, with the port that was chosen for port 0."""


@contextlib.contextmanager
def closed_on_failure(sock: socket.socket) -> Iterator[socket.socket]:
    """Have ``sock`` closed when the context fails; else it is left open."""
    try:
        yield sock
    except BaseException:
        sock.close()
        raise


async def connect_source(spec: SocketSpec, addresses: Sequence[str]) -> socket.socket:
    """A non-blocking socket connected to the first of the granted ``addresses`` that answers.

    That of a Unix socket is its path without symbolic links; none is followed.

    ``IroshError``: target-refused when something there says no, target-unreachable otherwise.
    """
    failure: IroshError | None = None
    for address in addresses:
        try:
            return await _connect(spec, address)
        except IroshError as error:
            failure = error
    assert failure is not None
    raise failure


async def _connect(spec: SocketSpec, address: str) -> socket.socket:
    loop = asyncio.get_running_loop()
    family = socket.AF_UNIX if spec.protocol == "unix" else socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM if spec.protocol == "udp" else socket.SOCK_STREAM)
    try:
        with closed_on_failure(sock), _target(spec, address, family) as target:
            sock.setblocking(False)
            if spec.protocol == "udp":
                enlarge_buffers(sock)
            async with asyncio.timeout(CONNECT_DEADLINE):
                await loop.sock_connect(sock, target)
            tune(sock)
            return sock
    except (ConnectionRefusedError, FileNotFoundError) as error:
        raise IroshError(
            ErrorCode.TARGET_REFUSED, f"{spec}: {system_message(error)}", "is the program running there?"
        ) from None
    except (OSError, TimeoutError) as error:
        reason = "no answer" if isinstance(error, TimeoutError) else system_message(error)
        raise IroshError(ErrorCode.TARGET_UNREACHABLE, f"{spec}: {reason}") from None


@contextlib.contextmanager
def _target(spec: SocketSpec, address: str, family: socket.AddressFamily) -> Iterator[Any]:
    """What to connect a socket to."""
    if spec.protocol == "unix":
        with without_links(address) as path:
            yield path
        return
    # An address literal with its zone becomes a socket address here; nothing is looked up.
    yield socket.getaddrinfo(address, spec.port, family=family, flags=socket.AI_NUMERICHOST)[0][4]


async def connect_unix(path: str) -> socket.socket:
    """A non-blocking socket connected to the Unix socket at ``path``. ``OSError``."""
    with closed_on_failure(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as sock:
        sock.setblocking(False)
        async with asyncio.timeout(CONNECT_DEADLINE):
            await asyncio.get_running_loop().sock_connect(sock, path)
        return sock


def enlarge_buffers(sock: socket.socket) -> None:
    """Room in a UDP socket for what comes while this process does something else: the default is for 90 packets."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, UDP_BUFFER)


def tune(sock: socket.socket) -> None:
    """Socket options of tunnelled connections: no Nagle delay; a vanished TCP peer is noticed within minutes."""
    if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
            if hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE = 0.2  # seconds
_NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_TRIES = 8  # at a port that is free for the first of several addresses but not for the next


async def bind_all(specs: Sequence[SocketSpec], *, unlink: bool = False, follow_links: bool = True) -> list[Bound]:
    """Listeners at ``specs``, which are the same port of several addresses, or one Unix socket.

    Addresses that this machine does not have (it may know no IPv6) are left out, unless none is left. Port 0 is any
    that is free for all. ``unlink``: a Unix socket that is in the way is removed, whoever listens there.
    ``follow_links``: symbolic links on the way to a Unix socket. ``IroshError``: port-taken, bind-failed.
    """
    tries = _TRIES if specs[0].port == 0 and len(specs) > 1 else 1
    while True:
        tries -= 1
        bound: list[Bound] = []
        try:
            for spec in specs:
                asked = replace(spec, port=bound[0][0].port) if bound and not spec.port else spec
                try:
                    sock = await bind_listener(
                        asked, only_ipv6=len(specs) > 1, unlink=unlink, follow_links=follow_links
                    )
                except IroshError as error:
                    cause = error.__cause__
                    if (
                        isinstance(cause, OSError)
                        and cause.errno in _NO_SUCH_ADDRESS
                        and (bound or spec is not specs[-1])
                    ):
                        continue
                    raise
                bound.append((bound_spec(asked, sock), sock))
        except BaseException as error:
            for _, sock in bound:
                close_listener(sock)
            if tries and bound and isinstance(error, IroshError) and error.code is ErrorCode.PORT_TAKEN:
                continue
            raise
        return bound


async def bind_listener(
    spec: SocketSpec, *, only_ipv6: bool = False, unlink: bool = False, follow_links: bool = True
) -> socket.socket:
    """A non-blocking socket bound to ``spec`` (listening, unless UDP). ``IroshError``: port-taken, bind-failed.

    ``only_ipv6``: one at ``::`` takes no IPv4 connections. ``unlink`` and ``follow_links`` as for :func:`bind_all`.
    """
    if spec.protocol == "unix":
        return _bind_unix(spec, unlink=unlink, follow_links=follow_links)
    loop = asyncio.get_running_loop()
    kind = socket.SOCK_DGRAM if spec.protocol == "udp" else socket.SOCK_STREAM
    try:
        infos = await loop.getaddrinfo(spec.host, spec.port, type=kind, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise IroshError(ErrorCode.BIND_FAILED, f"cannot resolve the listen address {spec.host}") from error
    family, kind, protocol, _, address = infos[0]
    try:
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _bind_error(error, spec) from error
    try:
        sock.setblocking(False)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            enlarge_buffers(sock)
        if only_ipv6 and family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise _bind_error(error, spec) from error
    return sock


def _bind_unix(spec: SocketSpec, *, unlink: bool, follow_links: bool) -> socket.socket:
    try:
        sock = UnixListener(spec.path, follow_links=follow_links, unlink=unlink)
        sock.listen(BACKLOG)
    except OSError as error:
        raise _bind_error(error, spec) from error
    return sock


def _bind_error(error: OSError, spec: SocketSpec) -> IroshError:
    if error.errno == errno.EADDRINUSE:
        return IroshError(ErrorCode.PORT_TAKEN, f"{spec} is taken", "choose another, or port 0 for any free one")
    hint = "ports below 1024 need root" if error.errno == errno.EACCES else ""
    return IroshError(ErrorCode.BIND_FAILED, f"cannot listen on {spec}: {error.strerror}", hint)


async def accept_each(
    listener: socket.socket, take: Callable[[socket.socket, str], object], crowded: Callable[[IroshError], None]
) -> None:
    """Hand each connection, and what it is called in messages, to ``take``, until cancelled.

    ``crowded`` hears when there are no files left to accept with.
    """
    loop = asyncio.get_running_loop()
    while True:
        try:
            client, address = await loop.sock_accept(listener)
        except OSError as error:
            if error.errno == errno.ECONNABORTED:
                continue  # whoever it was has left already
            if error.errno not in _FULL:
                raise
            reason = f"cannot take more connections: {error.strerror}"
            crowded(IroshError(ErrorCode.BUSY, reason, "raise `ulimit -n`"))
            await asyncio.sleep(_PAUSE)  # until connections end there is nothing to accept with
            continue
        take(client, client_name(address))


def close_listener(sock: socket.socket) -> None:
    """Close a listener of :func:`bind_listener` and remove its file, if it has one."""
    if isinstance(sock, UnixListener):
        sock.remove()
    else:
        sock.close()


def bound_spec(spec: SocketSpec, sock: socket.socket) -> SocketSpec:
    """``spec`` with the port that was chosen for port 0."""
    if spec.protocol == "unix":
        return spec
    return SocketSpec(spec.protocol, host=spec.host, port=int(sock.getsockname()[1]))


def client_name(address: object) -> str:
    """A local client's address for messages."""
    if isinstance(address, tuple) and len(address) >= 2:
        host = f"[{address[0]}]" if ":" in str(address[0]) else address[0]
        return f"{host}:{address[1]}"
    return "a local program"
