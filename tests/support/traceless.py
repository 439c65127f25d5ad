"""Tests that look at what they leave behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tests.support.nodes import DEADLINE
from tests.support.sockets import no_socket_is_left


def run(body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test's body, and check that it leaves neither tasks nor sockets."""

    async def main() -> None:
        async with asyncio.timeout(DEADLINE), no_socket_is_left():
            await body()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others, others

    asyncio.run(main())
