"""Sessions that stay: coming to one and back to it over a connection that exists, and what their memory costs.

Against OpenSSH with a ControlMaster, whose part of what stays is tmux on the other side.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pty
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from bench.connect import timed
from bench.measuring import BenchError, Contender, Effort, Figures, interleaved
from bench.nodes import PETNAME, client_state, irosh_host, pin
from bench.openssh import OpenSSH, openssh
from bench.places import HERE, free_port, scratch
from bench.programs import IROSH, RUN_DEADLINE, find_program
from bench.programs import run as run_program
from bench.results import Measurement

TITLE = "sessions that stay: coming, coming back, and bulk output"
_MARK = b"on the screen"
_LINE = b"some line of text that is about sixty characters long\n"
_COLOURED = b"".join(b"\x1b[3%dm%s\x1b[0m " % (number, b"word") for number in range(8)) + b"\n"
_SHELL, _STAYS = "irosh -t", "irosh"


def run(effort: Effort) -> list[Measurement]:
    """Everything by a node, or a ControlMaster, that is connected already."""
    tmux = find_program("tmux", "tmux")
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(scratch())
        server = stack.enter_context(openssh(HERE, free_port(), directory))
        host = stack.enter_context(irosh_host(HERE, directory / "host"))
        state = client_state(directory / "client")
        pin(HERE, state, host.ticket)
        stack.enter_context(irosh_host(HERE, state))
        master = ("-S", str(directory / "master"))
        stack.enter_context(server.background(HERE, "-M", *master))
        irosh = [IROSH, "--state", str(state)]
        tmux_here = [tmux, "-S", str(directory / "tmux")]
        stack.callback(subprocess.run, [*tmux_here, "kill-server"], capture_output=True)
        return [
            *_attaching(effort, irosh, server, master, tmux_here),
            *_flooding(effort, directory, irosh, server, master),
        ]


def _attaching(
    effort: Effort, irosh: Sequence[str], server: OpenSSH, master: Sequence[str], tmux: Sequence[str]
) -> list[Measurement]:
    """From starting a command to the first byte, and to a whole screen of a session that there is."""
    numbers = itertools.count()
    command = "echo x"
    first = {
        "ssh": _timed([*server.command(*master), command]),
        _SHELL: _timed([*irosh, "connect", "-t", PETNAME, command]),
        _STAYS: lambda: timed([*irosh, "connect", "--session", f"new-{next(numbers)}", PETNAME, command]),
    }
    text = f"seq 200; echo {_MARK.decode()}; sleep 3600"
    run_program([*tmux, "-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", text])
    begun = subprocess.Popen(
        [*irosh, "connect", "--session", "back", PETNAME, text], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    with begun:
        assert begun.stdout is not None
        for line in begun.stdout:
            if _MARK in line:
                break
        begun.terminate()
    back = {
        "ssh, tmux": _shows([*server.command(*master, "-tt"), *tmux, "attach"]),
        _STAYS: _shows([*irosh, "session", "attach", PETNAME, "back"]),
    }
    for contender in (*first.values(), *back.values()):
        contender()
    rounds = effort.repeats * effort.pick(5, 1)
    results = interleaved(first, rounds)
    returned = interleaved(back, rounds)
    return [
        Measurement("a new session by a connection that exists: first byte", "ms", "less", results["first byte"]),
        Measurement("the same: end", "ms", "less", results["end"]),
        Measurement("coming back: the screen is there", "ms", "less", returned["screen"]),
    ]


def _flooding(
    effort: Effort, directory: Path, irosh: Sequence[str], server: OpenSSH, master: Sequence[str]
) -> list[Measurement]:
    """``cat`` of much text on a terminal."""
    numbers = itertools.count()
    measurements = []
    for what, line in (("plain text", _LINE), ("text of many colours", _COLOURED)):
        size = effort.pick(50_000_000, 200_000)
        file = directory / what.replace(" ", "-")
        file.write_bytes(line * (size // len(line)))
        command = f"cat {file}"
        contenders = {
            "ssh": _throughput([*server.command(*master, "-tt"), command], file),
            _SHELL: _throughput([*irosh, "connect", "-t", PETNAME, command], file),
            _STAYS: _session_throughput([*irosh, "connect", "--session"], numbers, command, file),
        }
        results = interleaved(contenders, effort.repeats)
        measurements.append(Measurement(f"bulk output, {what}", "MB/s", "more", results["throughput"]))
    return measurements


def _timed(command: Sequence[str]) -> Contender:
    return lambda: timed(command)


def _throughput(command: Sequence[str], file: Path) -> Contender:
    return lambda: _measured(command, file)


def _session_throughput(command: Sequence[str], numbers: itertools.count[int], text: str, file: Path) -> Contender:
    return lambda: _measured([*command, f"flood-{next(numbers)}", PETNAME, text], file)


def _measured(command: Sequence[str], file: Path) -> Figures:
    begin = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=RUN_DEADLINE)
    seconds = time.perf_counter() - begin
    if done.returncode or len(done.stdout) < file.stat().st_size:
        raise BenchError(
            f"`{' '.join(command)[:200]}` brought {len(done.stdout)} bytes:\n{done.stderr.decode()[-2000:]}"
        )
    return {"throughput": file.stat().st_size / seconds / 1e6}


def _shows(command: Sequence[str]) -> Contender:
    return lambda: _until_shown(command)


def _until_shown(command: Sequence[str]) -> Figures:
    """Milliseconds until a command on a terminal of its own has shown the mark; then it is ended."""
    begin = time.perf_counter()
    pid, descriptor = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execvp(command[0], list(command))
    seen = b""
    try:
        while _MARK not in seen:
            try:
                data = os.read(descriptor, 65536)
            except OSError:
                data = b""
            if not data:
                raise BenchError(f"`{' '.join(command)[:200]}` ended:\n{seen.decode(errors='replace')[-2000:]}")
            seen += data
        return {"screen": (time.perf_counter() - begin) * 1000}
    finally:
        os.kill(pid, signal.SIGTERM)
        os.close(descriptor)
        os.waitpid(pid, 0)
