"""The small event and queue do what asyncio's do."""

from __future__ import annotations

import asyncio

from irosh.transport.small import SmallEvent, SmallQueue


def test_all_who_wait_go_on_though_it_is_cleared_at_once() -> None:
    async def body() -> None:
        event = SmallEvent()
        waiting = [asyncio.create_task(event.wait()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.gather(waiting[0], return_exceptions=True)
        assert not waiting[1].done()
        event.set()
        event.clear()
        await asyncio.gather(*waiting[1:])
        assert waiting[0].cancelled()
        assert not event.is_set()
        event.set()
        await event.wait()

    asyncio.run(body())


def test_items_come_in_order_each_to_one() -> None:
    async def body() -> None:
        queue = SmallQueue[int]()
        takers = [asyncio.create_task(queue.get()) for _ in range(2)]
        await asyncio.sleep(0)
        takers[0].cancel()
        await asyncio.gather(takers[0], return_exceptions=True)
        for number in range(4):
            queue.put_nowait(number)
        assert await takers[1] == 0
        assert queue.qsize() == 3
        assert [await queue.get() for _ in range(3)] == [1, 2, 3]
        late = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        assert not late.done()
        queue.put_nowait(4)
        assert await late == 4

    asyncio.run(body())
