"""A transfer as a person or a program sees it: a bar on a terminal, events for programs, problems as they come."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from irosh.core.wording import escape
from irosh.faces.cli.amounts import rate, seconds, size
from irosh.faces.cli.output import Output

_EVERY = 0.5
_REDRAWN = 0.1
_BEFORE_A_BAR = 0.4  # seconds: what is done by then needs none, and its import would cost it
_LONGEST_NAME = 500
_MOST_SHOWN = 1000  # problems; further ones are only counted
_OVER = 8.0  # seconds over which the rate is taken


class TransferProgress:
    """See :class:`irosh.services.files.transfer.observing.Observer`. A context manager."""

    def __init__(self, output: Output, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.problems = 0
        self.files = 0
        self._output = output
        self._size = 0
        self._total_files = self._total_size = 0
        self._complete = False
        self._name = ""
        self._began = 0.0  # once there is a connection
        self._samples: list[tuple[float, int]] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._pending: list[str] = []  # lines to print above the bar
        show = self._report if output.as_json else self._draw if sys.stderr.isatty() and not quiet else None
        self._thread = threading.Thread(target=show, name="progress", daemon=True) if show is not None else None
        self._bar: Any = None

    def __enter__(self) -> TransferProgress:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self._print_pending()

    # -- the observer

    def totals(self, files: int, size: int, *, complete: bool) -> None:
        if not self._began:
            self._began = time.monotonic()
            self._samples = [(self._began, 0)]
        self._total_files, self._total_size, self._complete = files, size, complete

    def file(self, name: bytes) -> None:
        self._name = _shown(name)

    def moved(self, size: int, files: int = 0) -> None:
        with self._lock:
            self._size += size
            self.files += files

    def problem(self, name: bytes, message: str, *, harmless: bool) -> None:
        shown, said = _shown(name), escape(message, _LONGEST_NAME)
        with self._lock:
            self.problems += not harmless
            if len(self._pending) < _MOST_SHOWN:
                self._pending.append(f"{shown}: {said}")
        fields = {"path": shown, "message": said, "skipped": harmless}
        if self._output.as_json:
            self._output.event("problem", fields)
        elif self._bar is None:
            self._print_pending()

    # -- showing

    def summary(self) -> tuple[dict[str, Any], str]:
        """What has been moved, for programs and for people."""
        took = max(1e-3, time.monotonic() - (self._began or time.monotonic()))
        fields = {"seconds": round(took, 3), "rate": round(self._size / took)}
        return fields, f"in {seconds(took)} ({rate(self._size / took)})"

    def _print_pending(self) -> None:
        with self._lock:
            lines, self._pending = self._pending, []
        if not self._output.as_json:
            for line in lines:
                print(f"irosh: {line}", file=sys.stderr, flush=True)  # noqa: T201

    def _now(self) -> dict[str, Any]:
        now = time.monotonic()
        with self._lock:
            self._samples.append((now, self._size))
            while len(self._samples) > 2 and self._samples[1][0] < now - _OVER:
                del self._samples[0]
            begun, before = self._samples[0]
            speed = (self._size - before) / max(1e-3, now - begun)
            left = self._total_size - self._size
            return {
                "files": self.files,
                "bytes": self._size,
                "total_files": self._total_files,
                "total_bytes": self._total_size,
                "counted": self._complete,
                "rate": round(speed),
                "eta": round(left / speed, 1) if speed and self._complete and left >= 0 else None,
                "name": self._name,
            }

    def _report(self) -> None:
        while not self._ended.wait(_EVERY):
            if not self._began:
                continue
            self._output.event("progress", self._now())

    def _draw(self) -> None:
        while not self._began or time.monotonic() < self._began + _BEFORE_A_BAR:
            if self._ended.wait(_REDRAWN):
                return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[figures]}"))
        with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as self._bar:
            task = self._bar.add_task("", total=None, figures="")
            while True:
                self._update(task)
                if self._ended.wait(_REDRAWN):
                    break
        self._bar = None

    def _update(self, task: Any) -> None:
        with self._lock:
            lines, self._pending = self._pending, []
        for line in lines:
            self._bar.console.print(f"irosh: {line}", markup=False, highlight=False)
        now = self._now()
        total = now["total_bytes"] if now["counted"] else None
        share = f"{100 * now['bytes'] / total:3.0f}%" if total else ""
        eta = f"eta {seconds(now['eta'])}" if now["eta"] is not None else ""
        count = f"{now['files']}/{now['total_files']}" if now["total_files"] > 1 else ""
        figures = "  ".join(filter(None, (share, size(now["bytes"]), rate(now["rate"]), eta, count)))
        name = self._name if len(self._name) <= 30 else f"…{self._name[-29:]}"
        self._bar.update(task, description=name, total=total, completed=now["bytes"], figures=figures)
        self._bar.refresh()


def _shown(name: bytes) -> str:
    return escape(name.decode("utf-8", "surrogateescape"), _LONGEST_NAME)
