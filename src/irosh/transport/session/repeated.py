"""Messages that must arrive although carriers come and go: said again until they are answered. Pure: time is given."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from irosh.transport.session.frames import Heard, Telling, Told
from irosh.transport.session.numbers import SeenNumbers

REPEAT_AFTER = 1.0


class Repeated:
    """Both directions of a session."""

    def __init__(self) -> None:
        self._numbers = count(0, 2)
        self._waiting: dict[int, tuple[Told, float]] = {}
        self._seen = SeenNumbers(0)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def tell(self, stream: int, what: Telling, code: int, now: float) -> Told:
        """A new message, to be sent."""
        message = Told(next(self._numbers), stream, what, code)
        self._waiting[message.number] = (message, now)
        return message

    def heard(self, message: Heard) -> None:
        """The peer has it."""
        self._waiting.pop(message.number, None)

    def due(self, now: float) -> Iterator[Told]:
        """Those to be sent again."""
        for number, (message, at) in self._waiting.items():
            if now - at >= REPEAT_AFTER:
                self._waiting[number] = (message, now)
                yield message

    def is_new(self, message: Told) -> bool:
        """Whether this is the first time that the peer says it."""
        return self._seen.add(message.number)
