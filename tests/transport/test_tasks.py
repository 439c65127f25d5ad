"""Cleaning up to the end, however often a task is told to end."""

from __future__ import annotations

import asyncio

import pytest

from irosh.transport.tasks import to_the_end


def test_clean_up_survives_being_cancelled_again() -> None:
    async def body() -> None:
        steps: list[str] = []
        begun, proceed = asyncio.Event(), asyncio.Event()

        async def clean_up() -> None:
            begun.set()
            await proceed.wait()
            steps.append("cleaned up")

        async def work() -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                await to_the_end(clean_up())
                steps.append("not reached: the cancellation comes first")

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        await begun.wait()
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        proceed.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert steps == ["cleaned up"]

    asyncio.run(body())


def test_without_a_cancellation_it_is_a_plain_call() -> None:
    async def give() -> int:
        await asyncio.sleep(0)
        return 5

    async def fail() -> None:
        raise ValueError("no")

    async def body() -> None:
        assert await to_the_end(give()) == 5
        with pytest.raises(ValueError, match="no"):
            await to_the_end(fail())

    asyncio.run(body())
