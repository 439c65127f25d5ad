"""Scripts in processes of their own that use a file of the state: at once, without rights, or killed half-way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

_PREAMBLE = """
import os, resource, sys
from pathlib import Path
from irosh.core.errors import IroshError
from irosh.core.trust import TrustStore
path = Path(sys.argv[1])

def attempt(action):
    try:
        action()
    except IroshError as error:
        print(error.code, "|", error.message, "|", error.hint)
    else:
        print("ok")

def wait_for_go():
    print("ready", flush=True)
    sys.stdin.readline()
"""


def start(script: str, path: Path, *arguments: str) -> subprocess.Popen[str]:
    """Run ``script``, which finds ``path`` under this name, ``arguments`` from ``sys.argv[2]`` on, and ``attempt`` to
    call something and print ``ok`` or the error."""
    return subprocess.Popen(
        [sys.executable, "-c", _PREAMBLE + dedent(script), str(path), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def run(script: str, path: Path) -> str:
    """What ``script`` prints."""
    return start(script, path).communicate(timeout=60)[0]


def say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def line_of(process: subprocess.Popen[str]) -> str:
    """The next line that the script prints."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def race(script: str, path: Path, racers: list[tuple[str, ...]]) -> list[str]:
    """What ``script`` prints for each of ``racers``, the arguments of one process each. The script calls
    ``wait_for_go``; once all have come so far, all go on."""
    processes = [start(script, path, *arguments) for arguments in racers]
    for process in processes:
        assert line_of(process) == "ready"
    for process in processes:
        say(process, "go")
    return [process.communicate(timeout=60)[0].strip() for process in processes]
