"""An exchange of offer and answer that leads to nothing does not keep the next one waiting."""

from __future__ import annotations

import asyncio

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.node import exchanging_again
from irosh.node.exchanging_again import exchange_again
from irosh.rendezvous.interfaces import Exchange, Meeting
from tests.support.exchanges import Hand
from tests.support.nodes import connected_pair


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanging_again, "AGAIN_AFTER", 0.02)


def test_another_one_is_begun_after_the_answer() -> None:
    async def body() -> None:
        begun: list[asyncio.Future[Meeting]] = []
        enough = asyncio.Event()

        async def dial(exchange: Exchange | None) -> Meeting:
            assert exchange is not None
            begun.append(asyncio.get_running_loop().create_future())
            mine = begun[-1]
            if len(begun) == 2:
                enough.set()  # and no answer: nobody has brought another offer
            else:
                await exchange.show("answer", "block")
            return await mine

        async with connected_pair() as (connection, _):
            meeting = Meeting(connection)
            meeting_again = asyncio.create_task(exchange_again(dial, Hand()))
            await enough.wait()
            begun[0].set_result(meeting)
            assert await meeting_again is meeting
            assert begun[1].cancelled()

    asyncio.run(asyncio.wait_for(body(), 20))


def test_the_failure_of_all_is_raised() -> None:
    async def body() -> None:
        async def dial(exchange: Exchange | None) -> Meeting:
            raise IroshError(ErrorCode.UNREACHABLE, "nobody there")

        with pytest.raises(IroshError, match="nobody there"):
            await exchange_again(dial, Hand())

    asyncio.run(asyncio.wait_for(body(), 20))
