"""A participant's time at a session, on the host: frames of one line, joined to the session's output and input."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.shell.persistent.codec import End, Frame, FrameKind, Manage, Size, Welcome, decode, encode
from irosh.services.shell.persistent.lines import Line, answer_of
from irosh.services.shell.persistent.participant import Participant
from irosh.services.shell.persistent.session import MAX_PARTICIPANTS, PersistentSession
from irosh.transport.tasks import first_to_end

FAREWELL = 10.0  # seconds in which somebody who has been put out may still take the end of what they are sent
MOST_OF_A_GUEST = 4  # terminals
OF_THE_OWNER = 16  # places that are left to the owner
RESIZE_PAUSE = 0.1  # seconds after a guest's change of size in which nothing more is heard from it

ManageSession = Callable[[Manage, PersistentSession], dict[str, Any]]


def check_room(session: PersistentSession, guest: str | None = None) -> None:
    """``IroshError`` (busy) when too many terminals are at it already.

    ``guest``: the endpoint id of a guest who comes; none may take the places of the owner, or of all others.
    """
    there = session.participants
    if guest is not None and sum(not each.owner and each.peer_id == guest for each in there) >= MOST_OF_A_GUEST:
        raise IroshError(ErrorCode.BUSY, f"you are at this session with {MOST_OF_A_GUEST} terminals already")
    if len(there) >= (MAX_PARTICIPANTS if guest is None else MAX_PARTICIPANTS - OF_THE_OWNER):
        raise IroshError(ErrorCode.BUSY, f"{len(there)} terminals are at this session already")


async def attend(
    session: PersistentSession,
    participant: Participant,
    line: Line,
    manage: ManageSession | None,
    *,
    created: bool,
) -> None:
    """Until the participant leaves, is made to leave, or the session ends; returns when it has been told.

    ``manage`` does what the participant may ask; None for a guest, who may ask nothing. ``IroshError`` (busy).
    """
    check_room(session, None if participant.owner else participant.peer_id)  # others may have come meanwhile
    session.add(participant)
    try:
        welcome = Welcome(
            session.terms.name,
            created,
            session.began_at,
            participant.may_type,
            (session.size.columns, session.size.rows),
            len(session.participants),
            participant.owner,
        )
        await first_to_end(
            _show(session, participant, line, welcome),
            _listen(session, participant, line, manage),
            _outstay(participant),
        )
    finally:
        session.remove(participant)


async def _show(session: PersistentSession, participant: Participant, line: Line, welcome: Welcome) -> None:
    await line.send([(FrameKind.WELCOME, encode(welcome))])
    while True:
        frames = await participant.next_frames()
        await line.send(frames)
        session.sent(participant)
        if frames and frames[-1][0] is FrameKind.END:
            return


async def _outstay(participant: Participant) -> None:
    """As long as somebody who has been put out, and takes nothing of what they are sent, is waited for."""
    await participant.wait_put_out()
    await asyncio.sleep(FAREWELL)


async def _listen(
    session: PersistentSession, participant: Participant, line: Line, manage: ManageSession | None
) -> None:
    while frames := await line.receive():
        for frame in frames:
            await _heard(session, participant, frame, manage)


async def _heard(
    session: PersistentSession, participant: Participant, frame: Frame, manage: ManageSession | None
) -> None:
    kind, payload = frame
    if kind is FrameKind.INPUT:
        await session.type(participant, payload)
    elif kind is FrameKind.RESIZE:
        if participant.size is not None:
            session.resize(participant, decode(payload, Size))
            if not participant.owner:
                await asyncio.sleep(RESIZE_PAUSE)
    elif kind is FrameKind.BREAK:
        session.interrupt(participant)
    elif kind is FrameKind.DETACH:
        if participant.owner:
            session.stay()
        participant.end(End(reason="detached", name=session.terms.name))
    elif kind is FrameKind.MANAGE:
        participant.answer(answer_of(_managed(session, decode(payload, Manage), manage)))
    else:
        raise IroshError(ErrorCode.PROTOCOL, f"a participant does not send {kind.name}")


def _managed(session: PersistentSession, asked: Manage, manage: ManageSession | None) -> dict[str, Any] | IroshError:
    if manage is None:
        return IroshError(ErrorCode.DENIED, "only the owner of a session may do that")
    try:
        return manage(asked, session)
    except IroshError as error:
        return error
