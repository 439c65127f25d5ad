"""The way back to a peer: dials that overlap, reasons that end it, and when to begin."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.node import redialling
from irosh.node.link_watch import ASK_AFTER, NO_ANSWER, NO_WORD, Vitals
from irosh.node.redialling import Redial
from irosh.transport.interfaces import Connection

SILENCE = IroshError(ErrorCode.UNREACHABLE, "the peer does not answer")


class Dials:
    """Each dial waits until the test ends it."""

    def __init__(self) -> None:
        self.begun: list[asyncio.Future[Connection]] = []
        self.more = asyncio.Event()
        self.told: list[IroshError] = []
        self.greeted: list[Connection] = []
        self.closed: list[object] = []

    async def dial(self) -> Connection:
        answer: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self.begun.append(answer)
        self.more.set()
        return await answer

    async def greet(self, connection: Connection) -> None:
        self.greeted.append(connection)

    async def number(self, count: int) -> None:
        """Until so many have begun."""
        while len(self.begun) < count:
            self.more.clear()
            await self.more.wait()

    def connection(self) -> Connection:
        dials = self

        class Closable:
            def close(self, error: IroshError | None = None, *, moved: bool = False) -> None:
                dials.closed.append(self)

        return cast(Connection, Closable())

    def redial(self, *, overlapping: bool = True) -> asyncio.Task[None]:
        return asyncio.create_task(Redial(self.dial, self.greet, self.told.append, overlapping=overlapping).run())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EVERY", "LATER_EVERY", "BACKOFF_FIRST"):
        monkeypatch.setattr(redialling, name, 0.02)


def test_a_dial_without_an_answer_does_not_keep_the_next_one_waiting() -> None:
    async def body() -> None:
        dials = Dials()
        redial = dials.redial()
        await dials.number(3)
        first, second = dials.connection(), dials.connection()
        dials.begun[2].set_result(first)
        dials.begun[0].set_result(second)
        await redial
        # One goes on. The other is not greeted, for the peer would go on with it instead.
        assert len(dials.greeted) == len(dials.closed) == 1
        assert {*dials.greeted, *dials.closed} == {first, second}
        assert all(each.done() for each in dials.begun)

    asyncio.run(asyncio.wait_for(body(), 10))


def test_there_are_only_so_many_at_once() -> None:
    async def body() -> None:
        dials = Dials()
        redial = dials.redial()
        await dials.number(redialling.MOST_DIALS)
        await asyncio.sleep(0.1)
        assert len(dials.begun) == redialling.MOST_DIALS
        dials.begun[0].set_exception(SILENCE)
        await dials.number(redialling.MOST_DIALS + 1)
        redial.cancel()
        await asyncio.gather(redial, return_exceptions=True)
        assert all(each.done() for each in dials.begun)

    asyncio.run(asyncio.wait_for(body(), 10))


def test_one_at_a_time_where_somebody_is_asked() -> None:
    async def body() -> None:
        dials = Dials()
        redial = dials.redial(overlapping=False)
        await dials.number(1)
        await asyncio.sleep(0.1)
        assert len(dials.begun) == 1
        dials.begun[0].set_exception(SILENCE)
        await dials.number(2)
        dials.begun[1].set_result(dials.connection())
        await redial

    asyncio.run(asyncio.wait_for(body(), 10))


def test_equal_failures_are_told_once() -> None:
    async def body() -> None:
        dials = Dials()
        redial = dials.redial()
        for number in range(4):
            await dials.number(number + 1)
            dials.begun[number].set_exception(SILENCE)
        await dials.number(5)
        dials.begun[4].set_result(dials.connection())
        await redial
        assert dials.told == [SILENCE]

    asyncio.run(asyncio.wait_for(body(), 10))


@pytest.mark.parametrize(
    ("code", "final"),
    [(ErrorCode.SESSION_UNKNOWN, True), (ErrorCode.REVOKED, True), (ErrorCode.IDENTITY_MISMATCH, False)],
)
def test_some_reasons_are_final(code: ErrorCode, final: bool) -> None:
    async def body() -> None:
        dials = Dials()
        redial = dials.redial()
        await dials.number(1)
        dials.begun[0].set_exception(IroshError(code, "no"))
        if final:
            with pytest.raises(IroshError, match="no"):
                await redial
        else:
            await dials.number(2)
            dials.begun[1].set_result(dials.connection())
            await redial

    asyncio.run(asyncio.wait_for(body(), 10))


def look(vitals: Vitals, now: float, sent: int, received: int, *, word: float = 0.0, waiting: bool = False) -> bool:
    return vitals.look(now, sent=sent, received=received, word=word, waiting=waiting)


def test_an_idle_connection_is_not_silent() -> None:
    vitals = Vitals(0.0)
    for now in range(100):
        assert not look(vitals, now, 5, 5, word=now)
        assert not vitals.is_silent(now)


def test_packets_without_an_answer_are_silence() -> None:
    vitals = Vitals(0.0)
    look(vitals, 1.0, 5, 5)
    look(vitals, 2.0, 6, 5)
    assert not vitals.is_silent(2.0 + NO_ANSWER - 0.1)
    look(vitals, 5.0, 9, 5)
    assert vitals.is_silent(2.0 + NO_ANSWER)
    assert vitals.heard == 1.0
    look(vitals, 7.0, 9, 6)
    assert not vitals.is_silent(100.0)


def test_a_peer_that_is_heard_but_does_not_hear_us_is_asked_for_a_word() -> None:
    vitals = Vitals(0.0)
    asked = [now for now in range(20) if look(vitals, now, now, now, word=now, waiting=True)]
    assert asked == [ASK_AFTER]
    assert not vitals.is_deaf(ASK_AFTER + NO_WORD - 0.1)
    assert vitals.is_deaf(ASK_AFTER + NO_WORD)
    look(vitals, 20.0, 20, 20, word=0.5, waiting=True)
    assert not vitals.is_deaf(20.0)
