"""One dial in mode nostr: a request, repeated until the host answers, and what comes of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import NoReturn

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.ice_description import IceDescription, decode_description
from irosh.core.identity import short_id
from irosh.core.nostr_key import format_npub
from irosh.core.nostr_signal import SESSION_SIZE, Answer, Bye, Content, Refusal, Request, Signal
from irosh.rendezvous.interfaces import Contact
from irosh.rendezvous.nostr_channel import problems
from irosh.rendezvous.nostr_host import JOIN_DEADLINE, Session
from irosh.rendezvous.nostr_link import RelayLink
from irosh.transport.interfaces import Connection
from irosh.transport.tasks import first_to_end

ANSWER_DEADLINE = 30.0
RELAY_DEADLINE = 10.0  # for one of the relays to be there at all
FIRST_REPEAT, LAST_REPEAT = 1.5, 5.0  # seconds between requests
MAX_INBOX = 16

Send = Callable[[Content], None]


class NostrDial:
    """Asks the holder of the Nostr key ``npub`` for a session, by ``send``."""

    def __init__(self, npub: bytes, contact: Contact, links: Sequence[RelayLink], send: Send) -> None:
        self._npub = npub
        self._contact = contact
        self._links = links
        self._send = send
        self._inbox: asyncio.Queue[Signal] = asyncio.Queue(MAX_INBOX)
        self._other: str | None = None
        """Who answered that has another identity than we expect."""

    def received(self, npub: bytes, signal: Signal) -> None:
        """A message for this session whose signature was verified. Any but of whom was asked is left alone."""
        if npub == self._npub and not self._inbox.full():
            self._inbox.put_nowait(signal)

    async def run(self, session: Session) -> Connection:
        """The connection. Raises ``IroshError``: unreachable, identity-mismatch, what the host says against us."""
        try:
            request = Request(session.description.encode(), self._contact.invite)
            remote: IceDescription = await first_to_end(self._ask(request), _until_stale(session))
            return await self._join(session, remote)
        except BaseException:
            self._send(Bye())
            raise

    async def _ask(self, request: Request) -> IceDescription:
        pause = FIRST_REPEAT
        relays_by = asyncio.get_running_loop().time() + RELAY_DEADLINE
        try:
            async with asyncio.timeout(ANSWER_DEADLINE):
                while True:
                    self._send(request)
                    try:
                        async with asyncio.timeout(pause):
                            return await self._answer()
                    except TimeoutError:
                        if self._other is not None:
                            raise self._mismatch(self._other) from None
                        if asyncio.get_running_loop().time() > relays_by and not any(
                            link.is_up for link in self._links
                        ):
                            raise self._silence() from None
                        pause = min(1.5 * pause, LAST_REPEAT)
        except TimeoutError:
            raise self._silence() from None

    async def _answer(self) -> IceDescription:
        while True:
            signal = await self._inbox.get()
            if not self._is_of_host(signal):
                self._other = signal.sender.hex()  # but the right one may answer yet: they may share the Nostr key
            elif isinstance(signal.content, Answer):
                return decode_description(signal.content.description, sender=signal.sender.hex())
            elif isinstance(signal.content, Refusal):
                raise signal.content.error()

    async def _join(self, session: Session, remote: IceDescription) -> Connection:
        joining = asyncio.ensure_future(session.join(remote))
        refused = asyncio.ensure_future(self._refused())
        try:
            async with asyncio.timeout(JOIN_DEADLINE):
                await asyncio.wait((joining, refused), return_when=asyncio.FIRST_COMPLETED)
            if joining.done():
                return joining.result()
            raise refused.result()
        except TimeoutError:
            raise IroshError(ErrorCode.NO_PATH, "no path between the two machines was found") from None
        finally:
            for task in (joining, refused):
                task.cancel()
            await asyncio.gather(joining, refused, return_exceptions=True)

    async def _refused(self) -> IroshError:
        """What the host says when it has not managed to connect."""
        while True:
            signal = await self._inbox.get()
            if isinstance(signal.content, Refusal) and self._is_of_host(signal):
                return signal.content.error()

    def _is_of_host(self, signal: Signal) -> bool:
        return self._contact.endpoint_id in (None, signal.sender.hex())

    def _mismatch(self, other: str) -> IroshError:
        return IroshError(
            ErrorCode.IDENTITY_MISMATCH,
            f"the machine that answers for {format_npub(self._npub)} is {short_id(other)}…, not "
            f"{short_id(self._contact.endpoint_id or '')}…",
            "if it is known to have a new key: irosh peer remove NAME, then a new ticket. If not: do not connect",
        )

    def _silence(self) -> IroshError:
        wrong = problems(self._links)
        down = [link for link in self._links if not link.is_up]
        if len(wrong) == len(self._links):
            if len(wrong) == 1:
                return wrong[0]
            return IroshError(
                ErrorCode.RELAY_UNREACHABLE,
                "; ".join(problem.message for problem in wrong),
                "is there a network? Relays of your own: irosh nostr relay, --nostr-relay",
            )
        up = ", ".join(link.url for link in self._links if link.is_up)
        return IroshError(
            ErrorCode.UNREACHABLE,
            f"{format_npub(self._npub)} does not answer by way of {up}"
            + (f" (not to be reached: {', '.join(link.url for link in down)})" if down else ""),
            "is `irosh host --mode nostr` running there, with one of these relays (--nostr-relay)?",
        )


async def _until_stale(session: Session) -> NoReturn:
    """Keeps the mappings in the NATs alive while the answer takes its time."""
    await session.stale()
    raise IroshError(
        ErrorCode.UNREACHABLE, "this machine's address has changed while it waited for an answer", "try again"
    )


def new_session() -> bytes:
    """A session id that nobody can guess."""
    return os.urandom(SESSION_SIZE)
