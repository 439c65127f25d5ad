"""One side of mode iroh-manual as a program, for a test that plays the person: JSON lines on stdout and stdin.

    python -m tests.support.manual_peer {host|dial|redial} SECRET BIND [STUN_SERVER ...]

Out: ``{"show": KIND, "block": TEXT}``, ``{"ask": KIND}``, ``{"note": CODE, "message": TEXT}``, ``{"problem": CODE}``,
``{"connected": ID, "remote": [...]}`` once bytes went both ways. In: a line for each ``ask``, a JSON string.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.network_options import NetworkOptions
from irosh.rendezvous.interfaces import BlockKind, Contact, Hosting
from irosh.rendezvous.iroh_manual import IrohManual
from irosh.transport.interfaces import Connection


def say(**fields: Any) -> None:
    """One event."""
    print(json.dumps(fields), flush=True)


class StandardStreams:
    """An exchange with whoever reads our events."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def show(self, kind: BlockKind, block: str) -> None:
        say(show=kind, block=block)

    async def ask(self, kind: BlockKind) -> str:
        say(ask=kind)
        line = await self._reader.readline()
        if not line:
            raise IroshError(ErrorCode.USAGE, "no more input")
        text: str = json.loads(line)
        return text

    async def note(self, error: IroshError) -> None:
        say(note=error.code, message=error.message)


async def serve(manual: IrohManual) -> None:
    """Greets everybody back who sends bytes, and reports them."""
    for problem in await manual.problems():
        say(problem=problem.code)
    say(ready=True)

    async def greet(connection: Connection) -> None:
        try:
            stream = await connection.accept_stream()
            await stream.write(await stream.read_exactly(5))
            await stream.finish()
            report(connection)
            say(closed=(await connection.wait_closed()).code)
        except (IroshError, EOFError) as error:
            say(unused=str(error))

    async with asyncio.TaskGroup() as group:
        while (connection := await manual.accept()) is not None:
            group.create_task(greet(connection))


async def call_again(manual: IrohManual, contact: Contact, exchange: StandardStreams) -> None:
    """Dial, wait until the connection is lost, and dial again until there is another."""
    while True:
        try:
            meeting = await manual.dial(contact, exchange)
        except IroshError as error:
            say(failed=error.code, message=error.message)
            continue
        stream = await meeting.connection.open_stream()
        await stream.write(b"hello")
        assert await stream.read_exactly(5) == b"hello"
        report(meeting.connection)
        say(lost=(await meeting.connection.wait_closed()).message)
        contact = Contact(meeting.connection.peer_id)


async def call(manual: IrohManual, contact: Contact, exchange: StandardStreams) -> None:
    """Dial, and see that bytes go both ways."""
    meeting = await manual.dial(contact, exchange)
    stream = await meeting.connection.open_stream()
    await stream.write(b"hello")
    assert await stream.read_exactly(5) == b"hello"
    report(meeting.connection, invite=meeting.invite.hex() if meeting.invite else None)
    await asyncio.sleep(1)  # for a second connection that should not be there
    say(still_open=not meeting.connection.is_closed)
    meeting.connection.close()


def report(connection: Connection, **fields: Any) -> None:
    """Say who is at the other end."""
    say(connected=connection.peer_id, remote=[path.remote for path in connection.paths()], **fields)


async def main(role: str, secret: str, bind: str, *stun_servers: str) -> None:
    """As described above."""
    reader = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    exchange = StandardStreams(reader)
    options = NetworkOptions(relays=(), bind=bind, stun_servers=tuple(stun_servers))
    hosting = Hosting(exchange, lambda: b"\x07" * 32, lambda _id: True) if role == "host" else None
    manual = await IrohManual.start(Identity.from_secret(bytes.fromhex(secret)), options, hosting)
    try:
        if role == "host":
            await serve(manual)
        elif role == "redial":
            await call_again(manual, Contact(None), exchange)
        else:
            await call(manual, Contact(None), exchange)
    except IroshError as error:
        say(failed=error.code, message=error.message)
    finally:
        await manual.close()
    say(ended=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
