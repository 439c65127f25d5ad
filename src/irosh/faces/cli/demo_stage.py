"""Where the demo plays: a temporary directory, and the irosh processes started in it. Nothing of either remains."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.faces.cli.program import own_command

DEADLINE = 20.0
"""Seconds that a process may take to end, or to say what is waited for."""

_STOP_DEADLINE = 5.0
_MAX_LINE = 1024 * 1024
_TAIL = 12  # lines
_CONFIG = """\
[network]
relays = ["{relay}"]
bind = "127.0.0.1:0"
stun_servers = []
[session]
keepalive = "1s"
dead_after = "2s"
"""


class DemoError(IroshError):
    """A step failed. ``said`` are the last lines that the process wrote to its standard error."""

    def __init__(self, message: str, *, code: ErrorCode = ErrorCode.INTERNAL, said: Sequence[str] = ()) -> None:
        super().__init__(code, message)
        self.said = tuple(said)


@dataclass(frozen=True)
class Finished:
    """A process that has ended."""

    status: int
    events: list[dict[str, Any]]
    said: tuple[str, ...]

    def event(self, name: str) -> dict[str, Any]:
        """The first event of this name. :class:`DemoError` if there was none."""
        for event in self.events:
            if event.get("event") == name:
                return event
        raise self.unexpected()

    @property
    def stdout(self) -> str:
        """What the remote command printed."""
        return "".join(str(event.get("data", "")) for event in self.events if event.get("event") == "stdout")

    @property
    def error_code(self) -> str | None:
        """The code of the error it ended with."""
        error = self.events[-1].get("error") if self.events else None
        return str(error.get("code")) if isinstance(error, dict) else None

    def unexpected(self) -> DemoError:
        """The failure that it did not end as it should have."""
        error = self.events[-1].get("error") if self.events else None
        if isinstance(error, dict):
            made = IroshError.from_dict(error)
            return DemoError(str(made), code=made.code, said=self.said)
        return DemoError(f"it ended with exit status {self.status}", said=self.said)


class Running:
    """A process that keeps running and reports events, one JSON object a line."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        """All it has said so far."""
        self._log = log

    async def event(self, name: str) -> dict[str, Any]:
        """The next event of this name. :class:`DemoError` if the process ends or fails first, or takes too long."""
        async with _deadline(f"no {name!r}", self._log):
            while (event := await self._next()) is not None:
                if event.get("event") == name:
                    return event
            status = await self.process.wait()
        raise Finished(status, self.events, _tail(self._log)).unexpected()

    async def finish(self) -> Finished:
        """All it has said, once it has ended by itself."""
        async with _deadline("it has not ended", self._log):
            while await self._next() is not None:
                pass
            status = await self.process.wait()
        return Finished(status, self.events, _tail(self._log))

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """It does nothing while the context lasts."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)

    async def stop(self) -> None:
        """End it: politely first."""
        for end in (self.process.terminate, self.process.kill):
            with suppress(ProcessLookupError):
                end()
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_DEADLINE):
                    # What it still says is read, or it could wait for ever with a full pipe.
                    await self.process.communicate()
                    return

    async def _next(self) -> dict[str, Any] | None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            with suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict):
                    self.events.append(event)
                    return event
        return None


class Stage:
    """Starts irosh with state directories of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._processes: list[Running] = []
        self._logs = 0
        # Settings of the person who watches must not play a part.
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("IROSH_")}

    def state(self, name: str, relay: str) -> str:
        """A state directory with a configuration that knows nothing but loopback and ``relay``, and is impatient."""
        path = self.directory / name
        path.mkdir(mode=0o700)
        (path / "config.toml").write_text(_CONFIG.format(relay=relay))
        return str(path)

    def files(self) -> tuple[str, ...]:
        """The options for an exchange of offers and answers by files."""
        return ("--offer-file", str(self.directory / "offer"), "--answer-file", str(self.directory / "answer"))

    async def start(self, *arguments: str) -> Running:
        """A command that keeps running; it ends with the stage."""
        return await self._start(arguments, asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE, ("--json",))

    async def run(self, *arguments: str) -> Finished:
        """A command to its end."""
        return await (await self.start(*arguments)).finish()

    async def close(self) -> None:
        """End all processes, the latest first, so that none loses what it relies on."""
        for running in reversed(self._processes):
            if running.process.returncode is None:
                await running.stop()

    @property
    def _log(self) -> Path:
        return self.directory / f"{self._logs}.stderr"

    async def _start(
        self, arguments: Sequence[str], stdin: IO[bytes] | int, stdout: IO[bytes] | int, options: Sequence[str]
    ) -> Running:
        self._logs += 1
        with self._log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *own_command(),
                *options,
                *arguments,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=self._environment,
                limit=_MAX_LINE,
            )
        running = Running(process, self._log)
        self._processes.append(running)
        return running


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """A stage for the length of the block; its processes and its directory are gone afterwards, however it ends."""
    directory = Path(tempfile.mkdtemp(prefix="irosh-demo-"))
    made = Stage(directory)
    try:
        yield made
    finally:
        try:
            await made.close()
        finally:
            shutil.rmtree(directory, ignore_errors=True)


@asynccontextmanager
async def _deadline(problem: str, log: Path) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(DEADLINE):
            yield
    except TimeoutError:
        raise DemoError(f"{problem} within {DEADLINE:g} s", code=ErrorCode.TIMEOUT, said=_tail(log)) from None


def _tail(log: Path) -> tuple[str, ...]:
    """The last lines of what a process wrote to its standard error."""
    return tuple(log.read_text(errors="replace").splitlines()[-_TAIL:])
