"""Transfers that were begun at the prompt and go on beside the session."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.wording import escape
from irosh.faces.cli.amounts import percent, rate, seconds, size
from irosh.faces.cli.options import Settings

if TYPE_CHECKING:
    from irosh.faces.cli.transferring import TransferOptions

Direction = Literal["put", "get"]
MOST_AT_ONCE = 20
MOST_PROBLEMS = 20  # of one transfer that are shown
_LONGEST_NAME = 60


class Transfer:
    """One, in a thread of its own. It is the observer of its own progress, called from threads of the transfer."""

    def __init__(
        self,
        number: int,
        settings: Settings,
        peer_id: str,
        direction: Direction,
        sources: Sequence[str],
        destination: str,
        options: TransferOptions,
        told: Callable[[str], None],
    ) -> None:
        self.number = number
        name = escape(sources[0].rstrip("/").rpartition("/")[2] or sources[0], _LONGEST_NAME)
        self._what = f"{direction} {name}" + (" …" if len(sources) > 1 else "")
        self._told = told
        self._began = time.monotonic()
        self._size = self._total = 0
        self._counted = False
        self._problems = 0
        self._cancelled = False
        self._lock = threading.Lock()
        arguments = (settings, peer_id, list(sources), destination, options)
        self.thread = threading.Thread(target=self._run, args=(direction, arguments), name=direction, daemon=True)
        self.thread.start()

    def cancel(self) -> None:
        """Have it end as soon as it moves again."""
        self._cancelled = True

    def line(self) -> str:
        """How far it is."""
        took = max(1e-3, time.monotonic() - self._began)
        with self._lock:
            done, total, counted = self._size, self._total, self._counted
        share = f"{percent(done / total)} of {size(total)}" if counted and total else size(done)
        left = f", {seconds((total - done) * took / done)} left" if counted and 0 < done < total else ""
        ending = ", ending" if self._cancelled else ""
        return f"[{self.number}] {self._what}  {share}, {rate(done / took)}{left}{ending}"

    # -- the observer

    def totals(self, files: int, size: int, *, complete: bool) -> None:
        self._total, self._counted = size, complete
        self._end_if_cancelled()

    def file(self, name: bytes) -> None:
        self._end_if_cancelled()

    def moved(self, size: int, files: int = 0) -> None:
        with self._lock:
            self._size += size
        self._end_if_cancelled()

    def problem(self, name: bytes, message: str, *, harmless: bool) -> None:
        with self._lock:
            self._problems += 1
            shown = self._problems <= MOST_PROBLEMS
        if shown:
            where = escape(name.decode(errors="replace"), 4 * _LONGEST_NAME)
            self._told(f"[{self.number}] {where}: {escape(message, 4 * _LONGEST_NAME)}")

    def _end_if_cancelled(self) -> None:
        if self._cancelled:
            raise IroshError(ErrorCode.USAGE, "cancelled", "the same again with -a goes on where it ended")

    def _run(self, direction: Direction, arguments: tuple[Settings, str, list[str], str, TransferOptions]) -> None:
        from irosh.faces.cli import transferring

        try:
            work = transferring.put if direction == "put" else transferring.get
            work(*arguments, self)
        except IroshError as error:
            self._told(f"[{self.number}] {self._what}: {escape(str(error), 500)}")
        except OSError as error:
            self._told(f"[{self.number}] {self._what}: {error.strerror or error}")
        else:
            took = max(1e-3, time.monotonic() - self._began)
            failed = f", {self._problems} problems" if self._problems else ""
            self._told(f"[{self.number}] {self._what}: {size(self._size)} in {seconds(took)}{failed}")


class Transfers:
    """All of one session."""

    def __init__(self, settings: Settings, peer_id: str, told: Callable[[str], None]) -> None:
        self._settings = settings
        self._peer_id = peer_id
        self._told = told
        self._begun = 0
        self._all: list[Transfer] = []

    def begin(
        self, direction: Direction, sources: Sequence[str], destination: str, options: TransferOptions
    ) -> Transfer:
        """Begin one; it goes on by itself. ``IroshError`` (busy)."""
        if len(self.running()) >= MOST_AT_ONCE:
            raise IroshError(ErrorCode.BUSY, f"{MOST_AT_ONCE} transfers run already", "cancel one, or wait")
        self._begun += 1
        transfer = Transfer(
            self._begun, self._settings, self._peer_id, direction, sources, destination, options, self._told
        )
        self._all = [*self.running(), transfer]
        return transfer

    def running(self) -> list[Transfer]:
        """Those that have not ended."""
        return [each for each in self._all if each.thread.is_alive()]

    def lines(self) -> list[str]:
        """How far each is."""
        return [each.line() for each in self.running()]

    def cancel(self, number: int) -> None:
        """End one. ``IroshError`` (usage) when it does not run."""
        for each in self.running():
            if each.number == number:
                each.cancel()
                return
        raise IroshError(ErrorCode.USAGE, f"there is no transfer {number}", "`status` lists them")

    def wait(self) -> None:
        """Return once all have ended."""
        for each in self.running():
            while each.thread.is_alive():
                each.thread.join(3600)  # in slices: a lock that waits for ever takes no signals on some systems
