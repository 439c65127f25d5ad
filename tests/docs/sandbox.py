"""Machines for the commands of a page: directories, an environment, and programs that run until the page ends."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from irosh.core.identity import Identity
from irosh.core.private_file import write_private_file
from irosh.core.state import StateDirectory
from tests.docs.clipboard import Clipboard, Screen
from tests.docs.transcript import ASK_STATUS, Step, shown_beginning, shows_all, shows_beginning
from tests.lab.machine import end_group
from tests.lab.processes import wait_until

COMMAND_DEADLINE = 120.0
PROGRAM_DEADLINE = 90.0
STOP_DEADLINE = 30.0

_PORTS = re.compile(r"(?<![\w.-])(?:1080|2222|3340|4433|5353|5432|7447|8000|8080|8081|9464)(?![\w.-])")
_TICKET = re.compile(r"irosh1[a-z2-7]{60,}")
_LOOPBACK = re.compile(r"(?<![\w.])(?:relay\.example\.org|0\.0\.0\.0)(?![\w.])")
_SITE = Path(__file__).with_name("site")
_SOURCE = Path(__file__).parents[2] / "src"
_SHARED = "/mnt/shared"
_NO_NETWORK = '[network]\nrelays = []\nbind = "127.0.0.1:0"\nstun_servers = []\n'
# OpenSSH finds the home directory in the password database, whatever HOME says.
_SSH = """\
#!/bin/sh
config=$HOME/.ssh/config
[ -e "$config" ] || config=none
exec {program} -F "$config" "$@"
"""


@dataclass
class _Program:
    """A command in the background, its output collected as it comes."""

    step: Step
    process: subprocess.Popen[bytes]
    clipboard: Clipboard
    output: str = ""
    reader: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.screen = Screen(self._type)
        if self.step.pastes:
            self.clipboard.add(self.screen)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                text = line.decode(errors="replace")
                self.output += text
                if self.step.pastes:
                    self.clipboard.printed(self.screen, text)

    def _type(self, text: str) -> None:
        """As on a terminal, which shows what is typed."""
        self.output += text
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(text.encode())
            self.process.stdin.flush()

    def wait(self, deadline: float) -> int:
        """Until it ends by itself; returns the exit status. ``TimeoutExpired``."""
        status = self.process.wait(deadline)
        self._close()
        return status

    def stop(self, number: signal.Signals) -> int:
        """End it by a signal, as a terminal does; returns the exit status."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
        return self.wait(STOP_DEADLINE)

    def _close(self) -> None:
        self.reader.join()
        if self.process.stdin is not None:
            with suppress(BrokenPipeError):
                self.process.stdin.close()


class Sandbox:
    """A context manager; ``directory`` is empty and goes with whoever made it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._programs: list[_Program] = []
        self._status: dict[str, int] = {}
        self._ports: dict[str, str] = {}
        self._ticket: str | None = None
        self._clipboard = Clipboard()

    def __enter__(self) -> Sandbox:
        bin_directory = self._directory / "bin"
        bin_directory.mkdir()
        self._shared.mkdir()
        for name in ("ssh", "scp", "sftp"):
            if program := shutil.which(name):
                (bin_directory / name).write_text(_SSH.format(program=program))
                (bin_directory / name).chmod(0o755)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        programs, self._programs = self._programs, []
        statuses = {}
        with ExitStack() as stack:
            for program in programs:
                stack.callback(end_group, program.process)
            # One that has ended by itself, such as a tunnel whose peer was revoked, said so on the page or not at all.
            running = [program for program in programs if program.process.poll() is None]
            for program in reversed(running):
                statuses[program.step.where, program.step.command] = program.stop(signal.SIGTERM)
        if kind is None:
            bad = {name: status for name, status in statuses.items() if "irosh" in name[1] and status != 0}
            assert not bad, f"ended by SIGTERM, these did not exit with 0: {bad}"
            left = [str(path) for path in self._directory.glob("*/state/control.sock")]
            assert not left, f"left behind: {left}"

    def play(self, steps: list[Step]) -> None:
        """Do what ``steps`` show. ``AssertionError`` naming the line whose command does something else."""
        for position, step in enumerate(steps):
            following = steps[position + 1] if position + 1 < len(steps) else None
            asked = following is not None and (following.machine, following.command) == (step.machine, ASK_STATUS)
            if step.keeps_running and not asked:
                self._keep(step)
            else:
                self._run(step, asked=asked)

    # -- commands

    def _run(self, step: Step, *, asked: bool) -> None:
        command = f"(exit {self._status.get(step.machine, 0)}); {self._real(step.command)}"
        program = self._program(step, command)
        try:
            status = self._status[step.machine] = program.wait(COMMAND_DEADLINE)
        except subprocess.TimeoutExpired:
            late = f"{step.where}: {step.command}\n--- still runs after {COMMAND_DEADLINE:g} s; it printed:\n"
            raise AssertionError(late + program.output) from None
        finally:
            end_group(program.process)
        output = program.output
        self._note_ticket(output)
        said = f"{step.where}: {step.command}\n--- it printed, and ended with {status}:\n{output}"
        assert status == 0 or asked, said
        shown = [self._real(line) for line in step.output]
        assert not shown or shows_all(shown, output), f"{said}--- the page shows:\n{_joined(shown)}"

    def _keep(self, step: Step) -> None:
        assert step.output, f"{step.where}: show what {step.command!r} prints first, so that it can be waited for"
        program = self._program(step, self._real(step.command))
        process = program.process
        self._programs.append(program)
        shown = [self._real(line) for line in step.output]
        try:
            wait_until(
                lambda: shows_beginning(shown, program.output) or process.poll() is not None,
                timeout=PROGRAM_DEADLINE,
                what="it has printed what the page shows",
            )
            assert process.poll() is None, f"it ended with {process.poll()}"
        except AssertionError as error:
            program.reader.join(1.0)
            error.add_note(f"{step.where}: {step.command}\n--- it printed:\n{program.output}")
            error.add_note(f"--- the page shows:\n{_joined(shown)}")
            raise
        self._note_ticket(program.output)
        if step.interrupted is not None:
            self._interrupt(program, shown)

    def _interrupt(self, program: _Program, shown: list[str]) -> None:
        self._programs.remove(program)
        step = program.step
        try:
            self._status[step.machine] = program.stop(signal.SIGINT)
        finally:
            end_group(program.process)
        rest = shown_beginning(shown, program.output)
        assert step.interrupted is not None
        last = [self._real(line) for line in step.interrupted]
        said = f"{step.where}: interrupted, {step.command!r} printed\n{rest}--- the page shows:\n{_joined(last)}"
        assert not last or shows_all(last, rest), said

    # -- places

    def _program(self, step: Step, command: str) -> _Program:
        """Start a command in a process group of its own, output and errors together as on a terminal."""
        process = subprocess.Popen(
            ["bash", "-c", command],
            stdin=subprocess.PIPE if step.pastes else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=self._home(step.machine),
            env=self._environment(step.machine),
        )
        return _Program(step, process, self._clipboard)

    @property
    def _shared(self) -> Path:
        """What all machines see as ``/mnt/shared``."""
        return self._directory / "shared"

    def _home(self, machine: str) -> Path:
        """The machine's directory. The first time its state directory is made there."""
        home = self._directory / machine
        if not home.exists():
            home.mkdir()
            state = StateDirectory(home / "state").ensure()
            write_private_file(state.identity_path, identity_of(machine).openssh_private_key())
            state.config_path.write_text(_NO_NETWORK)
        return home

    def _environment(self, machine: str) -> dict[str, str]:
        home = self._home(machine)
        path = [str(self._directory / "bin"), str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
        kept = {name: os.environ[name] for name in ("USER", "LOGNAME", "TMPDIR", "TZ") if name in os.environ}
        return {
            **kept,
            "PATH": os.pathsep.join(path),
            "HOME": str(home),
            "IROSH_STATE": str(home / "state"),
            "LANG": "C.UTF-8",
            "TERM": "xterm",
            "SHELL": "/bin/bash",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join([str(_SITE), str(_SOURCE)]),
            "DOCUMENTED_MACHINE": machine,
        }

    # -- what stands on the page, and what is meant

    def _real(self, text: str) -> str:
        text = _LOOPBACK.sub("127.0.0.1", text.replace(_SHARED, str(self._shared)))
        text = _PORTS.sub(lambda match: self._port(match[0]), text)
        if re.search(r"\bTICKET\b", text):
            assert self._ticket is not None, "the page uses TICKET before a ticket was printed"
            text = re.sub(r"\bTICKET\b", self._ticket, text)
        return text

    def _port(self, shown: str) -> str:
        if shown not in self._ports:
            self._ports[shown] = str(_free_port())
        return self._ports[shown]

    def _note_ticket(self, output: str) -> None:
        if found := _TICKET.findall(output):
            self._ticket = found[-1]


def identity_of(machine: str) -> Identity:
    """The identity of a machine of the pages, the same in every run."""
    return Identity(hashlib.sha256(f"irosh documentation: {machine}".encode()).digest())


def _free_port() -> int:
    """A port that is free for TCP and UDP on loopback."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port = int(tcp.getsockname()[1])
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _joined(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
