"""Questions that an operation has for the person at the attached command: whether to trust a key, for a password."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any, Literal

from irosh.node.control import Channel

DEADLINE = 120.0  # seconds that a person has for an answer
MAX_PROMPT = 4000  # characters; who asks may be a server nobody knows

QuestionKind = Literal["confirm", "secret", "text", "tell"]


class Questions:
    """Asks by events ``question``, which the command answers by messages ``reply``. Needs the channel to be read.

    ``confirm`` takes yes or no, ``secret`` a line that is not shown, ``text`` a line; ``tell`` is no question.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[str | None]] = {}
        self._asking = asyncio.Lock()
        channel.on_reply = self._replied

    async def confirm(self, text: str) -> bool:
        """Whether the person says yes; also no when there is nobody, or no answer in time."""
        return (await self._ask("confirm", text) or "").strip().lower() in ("yes", "y")

    async def confirm_or_name(self, text: str, name: str) -> bool:
        """As :meth:`confirm`; typing ``name`` is a yes too."""
        answer = (await self._ask("confirm", text) or "").strip()
        return answer.lower() == "yes" or (bool(answer) and answer == name)

    async def secret(self, text: str) -> str | None:
        """What the person typed unseen; None when there is nobody to type it."""
        return await self._ask("secret", text)

    async def text(self, text: str) -> str | None:
        """What the person typed; None when there is nobody to type it."""
        return await self._ask("text", text)

    async def tell(self, text: str) -> None:
        """Have something shown."""
        await self._channel.event("question", number=0, kind="tell", text=text[:MAX_PROMPT])

    async def _ask(self, kind: QuestionKind, text: str) -> str | None:
        async with self._asking:  # one at a time is enough for a person
            number = next(self._numbers)
            answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
            self._waiting[number] = answer
            try:
                await self._channel.event("question", number=number, kind=kind, text=text[:MAX_PROMPT])
                async with asyncio.timeout(DEADLINE):
                    return await answer
            except TimeoutError:
                return None
            finally:
                del self._waiting[number]

    def _replied(self, reply: dict[str, Any]) -> None:
        number, value = reply.get("number"), reply.get("value")
        waiting = self._waiting.get(number) if isinstance(number, int) else None
        if waiting is not None and not waiting.done():
            waiting.set_result(value if isinstance(value, str) else None)
