"""Host names resolved with a deadline that holds even when the system's resolver does not return."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Sequence

RESOLVE_DEADLINE = 3.0
MAX_ADDRESSES = 8  # of one name and family

Address = tuple[str, int]


async def resolve_udp(
    host: str, port: int, family: socket.AddressFamily, timeout: float = RESOLVE_DEADLINE
) -> Sequence[Address]:
    """The addresses of one family that ``host`` has for UDP, without link-local ones; empty if it has none.

    ``OSError``: the name cannot be resolved; ``TimeoutError``.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[Address]] = loop.create_future()

    def work() -> None:
        found: list[Address] | OSError
        try:
            infos = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_DGRAM)
            found = [(str(info[4][0]), int(info[4][1])) for info in infos[:MAX_ADDRESSES]]
        except OSError as error:
            found = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, answer, found)

    # Not the loop's executor: its threads are waited for at the end, and a resolver may take half a minute.
    threading.Thread(target=work, name=f"resolve {host[:40]}", daemon=True).start()
    async with asyncio.timeout(timeout):
        found = await answer
    return [address for address in dict.fromkeys(found) if not address[0].lower().startswith("fe80:")]


def _settle(answer: asyncio.Future[list[Address]], found: list[Address] | OSError) -> None:
    if answer.done():
        return
    if isinstance(found, OSError):
        answer.set_exception(found)
    else:
        answer.set_result(found)
