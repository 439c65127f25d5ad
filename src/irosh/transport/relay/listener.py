"""Listening sockets for a host, all of whose addresses share one port."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Final

from irosh.core.errors import ErrorCode, IroshError

_BACKLOG: Final = 1024
_NOT_HERE: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


async def listen(host: str, port: int) -> list[socket.socket]:
    """Non-blocking listening sockets for every address of ``host``; with port 0 for one that is free.

    Addresses that this machine lacks, as IPv6's may be, are passed over if there are others.

    Raises:
        IroshError: ``PORT_TAKEN`` or ``BIND_FAILED``.
    """
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, _, _, _, address in dict.fromkeys(found):
            chosen = sockets[0].getsockname()[1] if sockets else port
            try:
                sock = socket.create_server((address[0], chosen, *address[2:]), family=family, backlog=_BACKLOG)
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing = error
            else:
                sock.setblocking(False)
                sockets.append(sock)
        if missing is not None and not sockets:
            raise missing
    except OSError as error:
        for sock in sockets:
            sock.close()
        if error.errno == errno.EADDRINUSE:
            raise IroshError(
                ErrorCode.PORT_TAKEN,
                f"another program listens on {host} port {port}",
                "choose another port, or 0 for any free one",
            ) from None
        reason = error.strerror or str(error)
        raise IroshError(ErrorCode.BIND_FAILED, f"cannot listen on {host} port {port}: {reason}") from None
    return sockets
