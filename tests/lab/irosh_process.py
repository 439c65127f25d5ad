"""``irosh`` as a program: one state directory on one machine, commands that end, and commands that keep running."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from irosh.core.state import StateDirectory
from tests.lab.machine import Machine, end_group
from tests.lab.processes import process_tree, resident_memory, wait_until

PROGRAM = str(Path(sys.executable).with_name("irosh"))
EVENT_DEADLINE = 40.0
STOP_DEADLINE = 30.0

ALONE = ("stun_servers = []", "nostr_relays = []", "mdns = false")

Event = dict[str, Any]


class Irosh:
    """The command line with the state directory ``state``, run on ``machine``.

    Its ``config.toml`` names ``relays`` and binds to loopback on a machine that is known by a loopback address.
    ``relays=None`` leaves iroh's public relays, which only a machine without a way to them may have. ``network`` are
    further lines of that table, by default such that nothing outside is asked and nothing announced; ``config`` is
    further tables.
    """

    def __init__(
        self,
        machine: Machine,
        state: Path,
        *,
        relays: Sequence[str] | None = (),
        environment: Mapping[str, str] | None = None,
        network: Sequence[str] = ALONE,
        config: str = "",
    ) -> None:
        self.machine = machine
        self.state = state
        self.environment = dict(environment or {})
        state.mkdir(mode=0o700, parents=True)
        lines = ["[network]"]
        if relays is not None:
            lines.append(f"relays = {json.dumps(list(relays))}")
        if machine.address.startswith("127."):
            lines.append(f'bind = "{machine.address}:0"')
        path = state / "config.toml"
        path.touch(mode=0o600)
        path.write_text("\n".join([*lines, *network, config]) + "\n")

    @property
    def command(self) -> tuple[str, ...]:
        """How the program is called."""
        return (PROGRAM, "--state", str(self.state))

    @property
    def control_socket(self) -> Path:
        """Where its node, if one runs, takes requests."""
        return StateDirectory(self.state).control_socket_path

    def run(
        self,
        *arguments: str,
        stdin: bytes | IO[bytes] = b"",
        timeout: float = 60.0,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end, however it ends."""
        return self.machine.run(
            *self.command,
            *arguments,
            stdin=stdin,
            timeout=timeout,
            check=False,
            environment={**self.environment, **(environment or {})},
        )

    def call(self, *arguments: str, timeout: float = 60.0) -> dict[str, Any]:
        """The result of a command with ``--json``, which must succeed."""
        done = self.run("--json", *arguments, timeout=timeout)
        assert done.returncode == 0, f"irosh {' '.join(arguments)}: {done.stdout!r} {done.stderr!r}"
        return _last_object(done)

    def failure(self, *arguments: str, timeout: float = 60.0) -> dict[str, str]:
        """The ``error`` object (code, message, hint) of a command that must fail."""
        done = self.run("--json", *arguments, timeout=timeout)
        answer = _last_object(done)
        assert done.returncode != 0, f"irosh {' '.join(arguments)} succeeded: {answer}"
        assert answer.get("ok") is False, answer
        error: dict[str, str] = answer["error"]
        return error

    def start(self, *arguments: str, stdin: IO[bytes] | int = subprocess.DEVNULL) -> IroshProcess:
        """Start a command that keeps running; use it as a context manager."""
        return IroshProcess(self, arguments, stdin=stdin)

    @contextmanager
    def host(self, *arguments: str) -> Iterator[IroshProcess]:
        """``irosh host`` for the length of the block, which begins when it is ready."""
        with self.start("host", *arguments) as process:
            process.wait_event("ready")
            yield process

    @contextmanager
    def tunnel(self, target: str, *maps: str, options: Sequence[str] = ()) -> Iterator[Tunnel]:
        """``irosh tunnel open`` for the length of the block; ``maps`` are ``SOURCE=LISTEN``, best with port 0."""
        with self.start("tunnel", "open", target, *options, *(f"--map={each}" for each in maps)) as process:
            process.wait_event("ready")
            yield Tunnel(process)


class IroshProcess:
    """A running command. Its events (``--json`` lines) are collected as they come."""

    def __init__(self, irosh: Irosh, arguments: Sequence[str], *, stdin: IO[bytes] | int) -> None:
        self.irosh = irosh
        self.arguments = tuple(arguments)
        self.events: list[Event] = []
        self._seen = 0
        self._changed = threading.Condition()
        self._ended = False
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self.process = irosh.machine.popen(
            *irosh.command,
            "--json",
            *arguments,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            environment=irosh.environment,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> IroshProcess:
        return self

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        try:
            if error is None and self.running:
                self.stop()
            elif error is not None:
                error.add_note(self.report())
        finally:
            end_group(self.process)
            self._reader.join()
            self._stderr.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    @property
    def memory(self) -> int:
        """Bytes of physical memory it uses."""
        return resident_memory(self.pid)

    def descriptors(self) -> int:
        """How many files and sockets it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def wait_event(self, name: str, *, timeout: float = EVENT_DEADLINE, **fields: object) -> Event:
        """The next event ``name`` with these ``fields``, after those that earlier waits returned.

        ``AssertionError`` with all that the command said when it does not come, or the command ends first.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                for position in range(self._seen, len(self.events)):
                    event = self.events[position]
                    if event.get("event") == name and fields.items() <= event.items():
                        self._seen = position + 1
                        return event
                if self._ended or not self._changed.wait(deadline - time.monotonic()):
                    raise AssertionError(f"no event {name!r} {fields or ''} within {timeout:g} s\n{self.report()}")

    def output(self) -> str:
        """What ``connect`` has brought of the remote command's standard output."""
        with self._changed:
            return "".join(str(event["data"]) for event in self.events if event.get("event") == "stdout")

    def wait_exit(self, timeout: float = EVENT_DEADLINE) -> int:
        """The exit status, once it has ended by itself."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout:g} s\n{self.report()}") from None
        self._reader.join()
        return status

    def wait_failure(self, timeout: float = EVENT_DEADLINE) -> dict[str, str]:
        """The ``error`` object it ends with; its exit status must not be 0."""
        assert self.wait_exit(timeout) != 0, self.report()
        answer = self.events[-1] if self.events else {}
        assert answer.get("ok") is False, self.report()
        error: dict[str, str] = answer["error"]
        return error

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal; returns the exit status. It must leave no process and no control socket behind."""
        tree = process_tree(self.pid)
        owned_socket = self._is_node()
        self.process.send_signal(number)
        status = self.wait_exit(STOP_DEADLINE)
        wait_until(
            lambda: not any(each.alive for each in tree),
            what=f"all processes of `irosh {self.arguments[0]}` are gone",
        )
        if owned_socket:
            assert not self.irosh.control_socket.exists(), f"{self.irosh.control_socket} is left\n{self.report()}"
        return status

    def kill(self) -> None:
        """End it by SIGKILL, and wait for that."""
        self.process.kill()
        self.wait_exit(STOP_DEADLINE)

    def report(self) -> str:
        """What it said, for the message of a failing test."""
        self._stderr.seek(0)
        said = self._stderr.read()[-4000:].decode(errors="replace")
        with self._changed:
            events = "\n".join(json.dumps(event)[:500] for event in self.events[-20:])
        return f"--- irosh {' '.join(self.arguments)} (exit status {self.process.poll()})\n{events}\n{said}"

    def _is_node(self) -> bool:
        """Whether it, not another command, holds the state directory."""
        return StateDirectory(self.irosh.state).holder() == self.pid

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                try:
                    event = json.loads(line)
                except ValueError:
                    event = {"event": "not-json", "line": line.decode(errors="replace")}
                with self._changed:
                    self.events.append(event)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class Tunnel:
    """A ready ``irosh tunnel open``. ``listens`` are where its maps appear, in order."""

    def __init__(self, process: IroshProcess) -> None:
        self.process = process
        self.listens = [str(event["listen"]) for event in process.events if event.get("event") == "listening"]

    def address(self, index: int = 0) -> tuple[str, int]:
        """Host and port of a TCP or UDP map."""
        host, _, port = self.listens[index].partition("://")[2].rpartition(":")
        return host.strip("[]"), int(port)


def _last_object(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    lines = done.stdout.splitlines()
    assert lines, f"nothing on standard output; {done.stderr!r}"
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer
