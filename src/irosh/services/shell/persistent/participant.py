"""Somebody at a session: what waits to be shown to them, and what they typed. Both are bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from irosh.services.shell.persistent.codec import MAX_PAYLOAD, Answer, End, Frame, FrameKind, Notice, Size, encode
from irosh.services.shell.persistent.painter import Painter

MOST_OUTPUT = 512 * 1024  # bytes that may wait for a slow participant; then a repaint takes their place
MUCH_OUTPUT = 96 * 1024  # from here on the program waits
LITTLE_OUTPUT = 32 * 1024  # and down to here
MOST_INPUT = 64 * 1024  # bytes that may wait for the program
MAX_SIDE = 64  # frames besides output that may wait


@dataclass(eq=False)
class Participant:
    """One terminal at a session. ``peer_id`` None: on the host itself. ``owner``: of the session, not a guest."""

    who: str
    peer_id: str | None
    owner: bool
    may_type: bool
    size: Size | None
    input: bytearray = field(default_factory=bytearray)
    painter: Painter | None = None
    """Set while its terminal has another size than the session."""
    new: bool = True
    """It has seen nothing yet, and gets the scrollback too."""
    answers_queries: bool = False
    """Of all terminals at a session only one tells the program about itself."""
    _output: deque[bytes] = field(default_factory=deque)
    _waiting: int = 0
    _side: deque[Frame] = field(default_factory=deque)
    _end: End | None = None
    _repaint: Callable[[], bytes] | None = None
    _fresh: asyncio.Event = field(default_factory=asyncio.Event)
    _room: asyncio.Event = field(default_factory=asyncio.Event)
    _put_out: asyncio.Event = field(default_factory=asyncio.Event)

    # -- to the terminal

    @property
    def waiting(self) -> int:
        """Bytes of output that it has not taken yet."""
        return self._waiting

    @property
    def ended(self) -> bool:
        """Whether it has been told the end."""
        return self._end is not None

    def show(self, data: bytes, repaint: Callable[[], bytes]) -> None:
        """Output of the program. When too much waits, all of it goes, and ``repaint`` says later what to send."""
        if self._repaint is not None:
            return  # what it gets then has this in it
        self._add(data)
        if self._waiting > MOST_OUTPUT:
            self.repaint_later(repaint)

    def paint(self, data: bytes) -> None:
        """A picture of the screen, or of what changed in it."""
        self._add(data)

    def repaint_later(self, repaint: Callable[[], bytes]) -> None:
        """Drop what waits; call ``repaint`` for what to send once the terminal takes something again."""
        self._output.clear()
        self._waiting = 0
        self._repaint = repaint
        self._fresh.set()

    def notice(self, notice: Notice) -> None:
        """Tell of something besides the screen; dropped when it reads nothing anyway."""
        self._add_side((FrameKind.NOTICE, encode(notice)))

    def answer(self, answer: Answer) -> None:
        """The answer to a command of this participant."""
        self._add_side((FrameKind.ANSWER, encode(answer)))

    def end(self, end: End) -> None:
        """The last thing it hears."""
        if self._end is None:
            self._end = end
            self._fresh.set()

    def put_out(self, end: End) -> None:
        """It leaves at once: it hears the end and nothing more."""
        self._output.clear()
        self._waiting = 0
        self._repaint = None
        self.end(end)
        self._put_out.set()

    async def wait_put_out(self) -> None:
        """Until it has been told to leave."""
        await self._put_out.wait()

    async def next_frames(self) -> list[Frame]:
        """What to send now; END is in the last of them."""
        while not (self._side or self._output or self._repaint or self._end):
            self._fresh.clear()
            await self._fresh.wait()
        frames = list(self._side)
        self._side.clear()
        if self._repaint is not None:
            repaint, self._repaint = self._repaint, None
            frames += _output(repaint())
        taken: list[bytes] = []
        size = 0
        while self._output and size < MAX_PAYLOAD:
            taken.append(self._output.popleft())
            size += len(taken[-1])
        self._waiting -= size
        frames += _output(b"".join(taken))
        if self._end is not None and not self._output:
            frames.append((FrameKind.END, encode(self._end)))
        return frames

    def _add(self, data: bytes) -> None:
        if data and self._end is None:
            self._output.append(data)
            self._waiting += len(data)
            self._fresh.set()

    def _add_side(self, frame: Frame) -> None:
        if len(self._side) < MAX_SIDE:
            self._side.append(frame)
            self._fresh.set()

    # -- from the keyboard

    async def type(self, data: bytes) -> None:
        """Input for the program, unless this participant may only look; waits while too much waits already."""
        while len(self.input) > MOST_INPUT and self.may_type:
            self._room.clear()
            await self._room.wait()
        if self.may_type:
            self.input += data

    def typed(self, size: int) -> None:
        """The program's terminal has taken ``size`` bytes."""
        del self.input[:size]
        if len(self.input) <= MOST_INPUT // 2:
            self._room.set()

    def drop_input(self) -> None:
        """Forget what was typed and not taken."""
        self.input.clear()
        self._room.set()


def _output(data: bytes) -> list[Frame]:
    return [(FrameKind.OUTPUT, data[at : at + MAX_PAYLOAD]) for at in range(0, len(data), MAX_PAYLOAD)]
