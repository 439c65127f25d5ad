"""``irosh connect --status-bar``: how busy the host is and how the link does, on the last row of the terminal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from irosh.faces.cli.options import Settings
from irosh.faces.cli.reserved_row import ReservedRow
from irosh.faces.cli.telemetry_feed import TelemetryFeed
from irosh.faces.cli.telemetry_line import telemetry_line
from irosh.faces.cli.terminal import LocalTerminal

LEAST_ROWS = 4
"""Of a terminal that can spare one."""
PAUSE = 0.5  # seconds between two looks whether there is something new


class TerminalWithBar(LocalTerminal):
    """A terminal of one row less, for the program; the last row is ours."""

    def __init__(self, descriptor: int, settings: Settings) -> None:
        super().__init__(descriptor)
        self._settings = settings
        self._row: ReservedRow | None = None
        self._feed: TelemetryFeed | None = None
        self._peer = ""
        self._shown = ""
        self._next = 0.0

    pause = PAUSE

    def size(self) -> tuple[int, int, int, int]:
        columns, rows, width, height = super().size()
        if rows < LEAST_ROWS:
            return columns, rows, width, height
        return columns, rows - 1, width, height * (rows - 1) // rows

    @contextlib.contextmanager
    def raw(self) -> Iterator[None]:
        with super().raw():
            columns, rows, _, _ = super().size()
            if rows >= LEAST_ROWS:
                self._row = ReservedRow(columns, rows)
                self._write(self._row.begin())
            try:
                yield
            finally:
                self._close()

    def begin(self, connected: dict[str, Any]) -> None:
        self._peer = str(connected["peer"])
        self._feed = TelemetryFeed(self._settings, str(connected["id"]))

    def passed(self, data: bytes) -> bytes:
        if self._row is None:
            return data
        data = self._row.feed(data)
        return data + self._row.show(self._shown) if self._row.stale and self._shown else data

    def idle(self) -> None:
        if self._row is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + PAUSE
        text = self._text(super().size()[0] - 1)
        if text != self._shown or self._row.stale:
            self._shown = text
            self._write(self._row.show(text))

    def resized(self) -> None:
        columns, rows, _, _ = super().size()
        if self._row is None:
            return
        if rows < LEAST_ROWS:
            self._write(self._row.end())
            self._row = None
            return
        self._write(self._row.resize(columns, rows))
        self._shown, self._next = "", 0.0
        self.idle()

    def suspend(self) -> None:
        if self._row is not None:
            self._write(self._row.end())
        super().suspend()
        if self._row is not None:
            self._write(self._row.again())

    def give_back(self) -> None:
        self._close()
        super().give_back()

    def _close(self) -> None:
        if self._feed is not None:
            self._feed.close()
            self._feed = None
        if self._row is not None:
            with contextlib.suppress(OSError):
                self._write(self._row.end())
            self._row = None

    def _text(self, width: int) -> str:
        feed = self._feed
        if feed is None:
            return self._peer[:width]
        found = feed.latest()
        if found is not None:
            return telemetry_line(found, width)
        if feed.error is not None:
            return f"{self._peer}  {feed.error.message}"[:width]
        return self._peer[:width]

    def _write(self, data: bytes) -> None:
        self.write(1, data)
