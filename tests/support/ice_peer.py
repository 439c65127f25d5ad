"""One side of an ICE session as a program, for tests between network namespaces.

    python -m tests.support.ice_peer '{"controlling": true, "relays": [], "stun_servers": ["198.51.100.2:3478"]}'

prints a line of JSON with its description, reads the other side's from standard input, and prints what became of it.
The controlling side then has its bytes echoed, for as long as the line that it reads next says; closes, and prints what
is left open.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import os
import sys
import time
from dataclasses import asdict
from typing import Any

from irosh.core.errors import IroshError
from irosh.core.ice_description import decode_description
from irosh.core.identity import Identity
from irosh.core.network_options import NetworkOptions, TurnServer
from irosh.rendezvous.ice_session import IceSession
from irosh.rendezvous.relay_fallback import RelayFallback
from irosh.transport.interfaces import Connection
from tests.support.sockets import PATIENCE, open_sockets

BLOCK = 1 << 16


def say(**values: Any) -> None:
    print(json.dumps(values), flush=True)


async def hear() -> dict[str, Any]:
    line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    return dict(json.loads(line))


async def main(settings: dict[str, Any]) -> None:
    controlling = settings.pop("controlling")
    patience = settings.pop("patience", 0.0)
    turn = tuple(TurnServer(**server) for server in settings.pop("turn_servers", []))
    lists: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()
    }
    options = NetworkOptions(**lists, turn_servers=turn)
    secret = os.urandom(32)
    before = open_sockets()
    fallback = RelayFallback(secret, options)
    start = time.monotonic()
    session = await IceSession.gather(secret, options, controlling=controlling, fallback=fallback)
    say(
        id=Identity(secret).id,
        description=base64.b64encode(session.description.encode()).decode(),
        candidates=session.description.candidates,
        problems=[problem.to_dict() for problem in session.problems],
        seconds=time.monotonic() - start,
    )
    remote = decode_description(base64.b64decode((await hear())["description"]))
    start = time.monotonic()
    try:
        connection = await session.join(remote, patience=patience)
    except IroshError as error:
        say(error=error.to_dict(), seconds=time.monotonic() - start)
    else:
        paths = [asdict(path) for path in connection.paths()]
        say(peer=connection.peer_id, way=session.way, paths=paths, seconds=time.monotonic() - start)
        work = send(connection) if controlling else echo(connection)
        await work
        del work, connection
    await session.close()
    await fallback.close()
    del session, fallback
    end = time.monotonic() + PATIENCE
    while (open_sockets() > before or len(asyncio.all_tasks()) > 1) and time.monotonic() < end:
        gc.collect()
        await asyncio.sleep(0.02)  # the engine closes its sockets in a thread of its own
    say(sockets=open_sockets() - before, tasks=len(asyncio.all_tasks()) - 1)


async def send(connection: Connection) -> None:
    told = await hear()
    stream = await connection.open_stream()
    start = time.monotonic()
    size = 0
    block = bytes(BLOCK)
    while True:
        await stream.write(block)
        size += len(await stream.read_exactly(BLOCK))
        if time.monotonic() - start >= told["seconds"]:
            break
        if told["until_direct"]:
            await asyncio.sleep(0.05)
            if any(path.selected and not path.relayed for path in connection.paths()):
                break
    paths = [asdict(path) for path in connection.paths()]
    say(echoed=size, seconds=time.monotonic() - start, paths=paths)
    connection.close()


async def echo(connection: Connection) -> None:
    try:
        stream = await connection.accept_stream()
        while data := await stream.read(BLOCK):
            await stream.write(data)
    except IroshError:
        pass  # the other side has what it wanted
    await connection.wait_closed()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
