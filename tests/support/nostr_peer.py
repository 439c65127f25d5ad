"""A node of mode nostr as a program, for tests between network namespaces.

    python -m tests.support.nostr_peer '{"host": true, "nostr_relays": ["ws://198.51.100.2:7001"]}'

A host prints a line of JSON with its npub, one for each receiver it has accepted, whose bytes it echoes, and stops at
the end of its standard input. A receiver (with ``npub``) connects, has bytes echoed, and leaves. Both print at last how
many sockets and tasks they left.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from typing import Any

from irosh.core.errors import IroshError
from irosh.core.identity import Identity
from irosh.core.network_options import NetworkOptions
from irosh.rendezvous.interfaces import Contact, Hosting
from irosh.rendezvous.nostr import Nostr
from irosh.rendezvous.relay_fallback import RelayFallback
from tests.support.ice_peer import BLOCK, echo, say
from tests.support.sockets import PATIENCE, open_sockets

ROUNDS = 16


async def main(settings: dict[str, Any]) -> None:
    hosting, npub = settings.pop("host", False), settings.pop("npub", None)
    lists: dict[str, Any] = {name: tuple(value) for name, value in settings.items()}
    options = NetworkOptions(**lists, mdns=False)
    identity = Identity(os.urandom(32))
    before = open_sockets()
    fallback = RelayFallback(identity.secret, options)
    if hosting:
        nostr = await Nostr.start(identity, options, Hosting(None, lambda: None, lambda _id: True), fallback)
        await serve(nostr)
    else:
        nostr = await Nostr.start(identity, options, None, fallback)
        await visit(nostr, npub)
    await nostr.close()
    await fallback.close()
    del nostr, fallback
    gc.collect()
    end = time.monotonic() + PATIENCE
    while open_sockets() > before and time.monotonic() < end:
        await asyncio.sleep(0.02)  # the engine closes its sockets in a thread of its own
    say(sockets=open_sockets() - before, tasks=len(asyncio.all_tasks()) - 1)


async def serve(nostr: Nostr) -> None:
    async def accept() -> None:
        async with asyncio.TaskGroup() as group:
            while (connection := await nostr.accept()) is not None:
                say(peer=connection.peer_id)
                group.create_task(echo(connection))
                del connection

    say(npub=nostr.npub, problems=[problem.to_dict() for problem in await nostr.problems()])
    accepting = asyncio.create_task(accept())
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    say(sessions=nostr.sessions)
    await nostr.close()
    await accepting


async def visit(nostr: Nostr, npub: str) -> None:
    start = time.monotonic()
    try:
        connection = (await nostr.dial(Contact(None, npub=npub))).connection
    except IroshError as error:
        say(error=error.to_dict(), seconds=time.monotonic() - start)
        return
    seconds = time.monotonic() - start
    stream = await connection.open_stream()
    for _ in range(ROUNDS):
        await stream.write(bytes(BLOCK))
        await stream.read_exactly(BLOCK)
    relayed = all(path.relayed for path in connection.paths() if path.selected)
    say(peer=connection.peer_id, relayed=relayed, seconds=seconds)
    connection.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
