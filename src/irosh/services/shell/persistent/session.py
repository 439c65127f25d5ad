"""One session: a program on a terminal that lives on the host, and whoever is at it just now."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import termios
import time
from collections.abc import Callable, Sequence
from typing import Any

from irosh.services.shell.descriptors import read_descriptor, until_writable
from irosh.services.shell.persistent.codec import End, Notice, NoticeEvent, Size
from irosh.services.shell.persistent.model import TerminalModel
from irosh.services.shell.persistent.pace import Pace
from irosh.services.shell.persistent.painter import Painter
from irosh.services.shell.persistent.participant import LITTLE_OUTPUT, MUCH_OUTPUT, Participant
from irosh.services.shell.persistent.recording import Recording
from irosh.services.shell.persistent.sequences import WithoutQueries
from irosh.services.shell.persistent.terms import SessionTerms, Share, end_of, within_limits
from irosh.services.shell.processes import SessionProcess
from irosh.transport.tasks import to_the_end

QUIET = 0.5  # seconds without output after which a program that has ended is taken to have printed all
DRAIN = 10.0  # seconds for that in any case; background jobs may hold its terminal open for ever
PATIENCE = 2.0  # seconds for which the program waits for its owner's terminals to take its output
TURN = 256  # bytes of one participant's input before it is another one's turn
STUCK = 0.25  # seconds for which the program's terminal may take no input before an interrupt goes past it
FRAME = 1 / 30  # seconds between two pictures for terminals of another size
UNWATCHED = 256 * 1024  # bytes of output after which a program that nobody watches lets others run
REST = 0.01  # seconds
FLOOD = 64 * 1024  # bytes between two looks at the output, of which what is interpreted now is passed over soon anyway
PASSING = 0.1  # seconds until the next look then
MAX_PARTICIPANTS = 64
ARRIVAL = 30.0  # seconds for the owner of a session that does not stay to come to it
_INTERRUPT = 0x03


class PersistentSession:
    """Runs from :meth:`run` until its program ends, or it is ended."""

    def __init__(
        self,
        terms: SessionTerms,
        process: SessionProcess,
        size: Size,
        pace: Pace,
        *,
        recording: Recording | None = None,
        model: TerminalModel | None = None,
        stays: bool = True,
    ) -> None:
        """``model``: what the terminal shows already. ``stays``: it goes on when its owner has left it."""
        self.terms = terms
        self.began_at = time.time()
        self.used_at = self.began_at
        self.share: Share | None = None
        self.participants: list[Participant] = []
        self.size = size
        self.model = model or TerminalModel(size.columns, size.rows)
        self.recording = recording
        self.outcome: End | None = None
        self._owner_by = None if stays else time.monotonic() + ARRIVAL
        self._process = process
        self._pace = pace
        self._reason = ""
        self._ending = asyncio.Event()
        self._over = asyncio.Event()
        self._typed = asyncio.Event()
        self._fresh = asyncio.Event()
        self._taken = asyncio.Event()
        self._unwatched = 0
        self._read = 0
        self._held_back = False
        self._filter = WithoutQueries()

    # -- its life

    async def run(self) -> End:
        """Until the program has ended; everybody at it has been told then. Cancelling ends it."""
        works = [asyncio.create_task(work) for work in (self._carry_output(), self._carry_input(), self._follow())]
        waiting = asyncio.create_task(self._process.wait())
        ending = asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait((waiting, ending), return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                await self._drain(works[0])
        except asyncio.CancelledError:
            self._reason = self._reason or "host-stopped"
            raise
        finally:
            await to_the_end(self._clean_up([*works, waiting, ending]))
        assert self.outcome is not None
        return self.outcome

    async def _drain(self, carrying: asyncio.Task[None]) -> None:
        end = time.monotonic() + DRAIN
        while not carrying.done() and time.monotonic() < end:
            seen = self._read
            await asyncio.wait((carrying,), timeout=QUIET)
            if self._read == seen and not self._held_back:
                return

    def end(self, reason: str) -> None:
        """Hang up the program, and tell everybody ``reason``."""
        self._reason = self._reason or reason
        self._ending.set()

    async def wait_over(self) -> End:
        """Until it has ended; how."""
        await self._over.wait()
        assert self.outcome is not None
        return self.outcome

    def stay(self) -> None:
        """Go on from now on when the owner leaves."""
        self._owner_by = None

    @property
    def abandoned(self) -> bool:
        """Whether the owner has left a session that does not stay."""
        if self._owner_by is None or any(each.owner for each in self.participants):
            return False
        return time.monotonic() > self._owner_by

    async def _clean_up(self, works: Sequence[asyncio.Task[Any]]) -> None:
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
        if self._reason:
            self._finish(End(reason=self._reason, name=self.terms.name))  # told before the program takes its time
        await self._process.end()
        status = await self._process.wait()
        self._finish(end_of(status, self.terms.name))
        if self.recording is not None:
            self.recording.close()

    def _finish(self, end: End) -> None:
        if self.outcome is None:
            self.outcome = end
            self._over.set()
            for participant in self.participants:
                participant.end(end)

    # -- who is at it

    def add(self, participant: Participant) -> None:
        """Somebody comes: the others are told, sizes are reconciled, the screen is painted."""
        self.participants.append(participant)
        if participant.owner and self._owner_by is not None:
            self._owner_by = 0.0  # whoever has come may only leave again
        self._elect()
        self._reconcile()
        self._show_whole(participant)
        self._tell_others(participant, "joined")
        if self.outcome is not None:
            participant.end(self.outcome)

    def remove(self, participant: Participant) -> None:
        """Somebody has gone."""
        if participant in self.participants:
            self.participants.remove(participant)
            self.used_at = time.time()
            participant.drop_input()
            self._elect()
            self._reconcile()
            self._taken.set()
            self._tell_others(participant, "left")

    def resize(self, participant: Participant, size: Size) -> None:
        """A participant's terminal has another size."""
        participant.size = within_limits(size)
        participant.painter = None
        self._reconcile()
        self._show_whole(participant)

    def allow_typing(self, participant: Participant, may_type: bool) -> None:
        """Give or take the keyboard."""
        if participant.may_type == may_type:
            return
        if may_type:
            participant.may_type = True
        else:
            self._take_keyboard(participant)
        participant.notice(Notice("keyboard", who=participant.who, may_type=may_type))
        self._tell_others(participant, "keyboard", may_type=may_type)
        self._reconcile()

    def put_out(self, participant: Participant, reason: str) -> None:
        """It has to leave, and types nothing any more, however long it takes to go."""
        self._take_keyboard(participant)
        participant.put_out(End(reason=reason, name=self.terms.name))

    def _take_keyboard(self, participant: Participant) -> None:
        """What it has typed must not be run later: of the terminal's queue nobody knows who typed what, so all goes."""
        participant.drop_input()
        if participant.may_type:
            participant.may_type = False
            self._process.discard_unread_input()

    def sent(self, participant: Participant) -> None:
        """The participant has taken some output."""
        self._taken.set()
        if participant.painter is not None:
            self._fresh.set()

    def _tell_others(self, participant: Participant, event: NoticeEvent, *, may_type: bool | None = None) -> None:
        notice = Notice(event, who=participant.who, participants=len(self.participants), may_type=may_type)
        for other in self.participants:
            if other is not participant:
                other.notice(notice)

    def _elect(self) -> None:
        """The terminal that answers the program's queries: of the owner who came first, never a guest's."""
        chosen = next((each for each in self.participants if each.owner and each.size is not None), None)
        for each in self.participants:
            each.answers_queries = each is chosen or each.size is None  # what is no terminal answers none

    # -- the size

    def _reconcile(self) -> None:
        """The session is as large as the smallest terminal of those who may type."""
        sizes = [each.size for each in self.participants if each.size is not None and each.may_type]
        changed = False
        if sizes:
            columns, rows = min(size.columns for size in sizes), min(size.rows for size in sizes)
            if (columns, rows) != (self.size.columns, self.size.rows):
                pixels = next((size for size in sizes if (size.columns, size.rows) == (columns, rows)), Size(0, 0))
                self.size = Size(columns, rows, pixels.width, pixels.height)
                self.model.resize(columns, rows)
                self._process.resize((columns, rows, pixels.width, pixels.height))
                if self.recording is not None:
                    self.recording.resized(columns, rows)
                changed = True
        for each in self.participants:
            fits = each.size is None or (each.size.columns, each.size.rows) == (self.size.columns, self.size.rows)
            if fits != (each.painter is None) or changed:
                self._set_painter(each, fits)
                self._show_whole(each)
                if changed:
                    each.notice(Notice("resized", size=(self.size.columns, self.size.rows)))

    def _set_painter(self, participant: Participant, fits: bool) -> None:
        size = participant.size
        participant.painter = None if fits or size is None else Painter(size.columns, size.rows)
        self._fresh.set()

    # -- what is shown

    def _show_whole(self, participant: Participant) -> None:
        """Have it repainted, from the beginning of what it is sent next."""
        participant.repaint_later(self._repainter(participant))

    def _repainter(self, participant: Participant) -> Callable[[], bytes]:
        def repaint() -> bytes:
            size = participant.size
            new, participant.new = participant.new, False
            if size is None:
                return self.model.text() if new else b""
            if participant.painter is None:
                return self.model.repaint(history=new)
            participant.painter = Painter(size.columns, size.rows)
            return participant.painter.update(self.model.catch_up())

        return repaint

    async def _carry_output(self) -> None:
        while data := await read_descriptor(self._process.stdout):
            self._read += len(data)
            self.model.add(data)
            self._fresh.set()
            if self.recording is not None:
                self.recording.output(data)
            shown = [each for each in self.participants if each.painter is None]
            quiet = data if all(each.answers_queries for each in shown) else self._filter.filter(data)
            for each in shown:
                each.show(data if each.answers_queries else quiet, self._repainter(each))
            await self._hold_back(len(data))

    async def _hold_back(self, size: int) -> None:
        """The program waits while none of its owner's terminals takes its output, but not for long."""
        leading = [each for each in self.participants if each.owner and each.painter is None and not each.ended]
        if not leading or min(each.waiting for each in leading) < MUCH_OUTPUT:
            self._unwatched += size
            if self._unwatched > UNWATCHED:
                self._unwatched = 0
                await asyncio.sleep(0 if leading else REST)
            return
        self._held_back = True
        try:
            await self._until_taken(leading)
        finally:
            self._held_back = False

    async def _until_taken(self, leading: list[Participant]) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while any(each in self.participants for each in leading) and all(
                    each.waiting > LITTLE_OUTPUT for each in leading
                ):
                    self._taken.clear()
                    await self._taken.wait()
                return
        for each in leading:  # its link is down, or it is stopped: it sees the screen when it is back
            each.repaint_later(self._repainter(each))

    async def _follow(self) -> None:
        """Keep the model up to date as far as that costs little, and paint for terminals of another size."""
        next_picture = 0.0
        while True:
            await self._fresh.wait()
            self._fresh.clear()
            while self.model.behind:
                painted = [each for each in self.participants if each.painter is not None]
                if painted and time.monotonic() >= next_picture:
                    break
                seen = self._read
                await self._pace.turn(self.model.work)
                if self._read - seen > FLOOD:
                    await asyncio.sleep(PASSING)
            begun = time.monotonic()
            painted = [each for each in self.participants if each.painter is not None and not each.waiting]
            for each in painted:
                assert each.painter is not None
                each.paint(each.painter.update(self.model.catch_up()))
            if painted:
                now = time.monotonic()
                pause = max(FRAME, 4 * (now - begun))
                next_picture = now + pause
                await asyncio.sleep(pause)

    # -- what is typed

    async def type(self, participant: Participant, data: bytes) -> None:
        """Input of a participant; waits while its share of the queue is full."""
        await participant.type(data)
        self.used_at = time.time()
        self._typed.set()

    def interrupt(self, participant: Participant) -> None:
        """A BREAK of a participant: SIGINT for the program in the foreground, if they may type."""
        if participant.may_type:
            self._process.send_signal(signal.SIGINT)

    async def _carry_input(self) -> None:
        while True:
            typing = [each for each in self.participants if each.input]
            if not typing:
                self._typed.clear()
                await self._typed.wait()
                continue
            for each in typing:  # in turn, so that nobody's flood keeps another from typing
                await self._pass_on(each)
            await asyncio.sleep(0)

    async def _pass_on(self, participant: Participant) -> None:
        descriptor = self._process.stdin
        piece = bytes(participant.input[:TURN])
        if descriptor is None or not piece:
            participant.drop_input()
            return
        try:
            participant.typed(os.write(descriptor, piece))
        except BlockingIOError:
            try:
                async with asyncio.timeout(STUCK):
                    await until_writable(descriptor)
            except TimeoutError:
                self._interrupt(descriptor)
        except OSError:  # all processes have closed the terminal
            participant.drop_input()

    def _interrupt(self, descriptor: int) -> None:
        """The terminal's own queue is full, so Ctrl-C behind it would not be seen: the owner's goes past it."""
        if not any(each.owner and _INTERRUPT in each.input for each in self.participants):
            return
        try:
            if not termios.tcgetattr(descriptor)[3] & termios.ISIG:
                return
        except (termios.error, OSError):
            return
        self._process.discard_unread_input()
        for each in self.participants:  # as a terminal does: what was typed before it goes, what was typed after stays
            each.typed(each.input.rfind(_INTERRUPT) + 1 if each.owner else len(each.input))
        self._process.send_signal(signal.SIGINT)
