"""What holds for the program as a whole: help, mistakes, JSON, versions, how it is started."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from irosh import __version__
from irosh.faces.cli.main import COMMANDS
from tests.lab.irosh_process import PROGRAM, Irosh
from tests.lab.machine import LOCAL

# None of these may cost time before a command needs it.
HEAVY = ("asyncio", "asyncssh", "cryptography", "iroh", "msgspec", "rich", "segno", "sqlite3", "websockets")


@pytest.fixture
def irosh(tmp_path: Path) -> Irosh:
    return Irosh(LOCAL, tmp_path / "state")


def imported_by(*arguments: str) -> set[str]:
    """The modules that the program has imported when it ends."""
    code = (
        "import sys\n"
        f"sys.argv = ['irosh', *{arguments!r}]\n"
        "from irosh.faces.cli.main import run\n"
        "run()\n"
        "print('\\n'.join(['modules:', *sys.modules]), file=sys.stderr)\n"
    )
    done = LOCAL.run(sys.executable, "-c", code)
    return set(done.stderr.decode().partition("modules:\n")[2].splitlines())


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["peer", "--help"], ["connect", "--help"]])
def test_what_needs_nothing_imports_nothing_heavy(arguments: list[str]) -> None:
    modules = imported_by(*arguments)
    assert "irosh.faces.cli.main" in modules
    assert not modules & set(HEAVY)


def test_a_question_to_the_running_node_imports_no_engine(tmp_path: Path) -> None:
    irosh = Irosh(LOCAL, tmp_path / "state")
    with irosh.host():
        modules = imported_by("--state", str(irosh.state), "status")
    assert not modules & {"asyncio", "asyncssh", "iroh", "rich", "sqlite3"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(irosh: Irosh, name: str) -> None:
    done = irosh.run(name, "--help")
    assert done.returncode == 0, done.stderr
    assert f"Usage: irosh {name}".encode() in done.stdout
    assert name in irosh.run("--help").stdout.decode()


@pytest.mark.parametrize("words", [["host"], ["connect"], ["tunnel", "open"], ["proxy"]], ids=" ".join)
def test_the_help_has_the_flags_about_meeting_behind_the_others(irosh: Irosh, words: list[str]) -> None:
    text = irosh.run(*words, "--help").stdout.decode()
    own, _, meeting = text.partition("How to meet:")
    assert "--json" in own
    assert "--relay" in meeting
    assert not {"--mode", "--relay", "--offer-file"} & set(own.split())
    assert "TARGET" not in own.partition("Options:")[2]


def test_no_command_prints_the_help_and_fails(irosh: Irosh) -> None:
    done = LOCAL.run(PROGRAM, check=False)
    assert done.returncode == 2
    assert b"Usage: irosh" in done.stderr
    assert done.stdout == b""


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["conect"], "no command 'conect'", "irosh connect"),
        (["xyzzy"], "no command 'xyzzy'", "irosh --help"),
        (["connect"], "TARGET", "irosh connect --help"),
        (["peer", "lst"], "lst", "irosh peer --help"),
        (["peer", "show"], "NAME", "irosh peer show --help"),
        (["peer", "allow", "x"], "CAP", "irosh peer allow --help"),
        (["status", "--frobnicate"], "--frobnicate", "irosh status --help"),
        (["host", "--relay", "http://127.0.0.1:1", "--no-relay"], "exclude", ""),
        (["host", "--invite-expires", "soon"], "'soon' is not a duration", "10m"),
        (["invite", "--expires", "-1h"], "'-1h' is not a duration", "10m"),
        (["audit", "--since", "yesterday"], "'yesterday' is not a duration", "10m"),
        (["completion", "tcsh"], "tcsh", "irosh completion --help"),
    ],
)
def test_mistakes_get_a_message_a_hint_and_status_2(
    irosh: Irosh, arguments: list[str], message: str, hint: str
) -> None:
    done = irosh.run(*arguments)
    said = done.stderr.decode()
    assert done.returncode == 2, said
    assert message in said
    assert hint in said
    assert said.startswith("irosh: ")
    assert done.stdout == b""
    for as_json in ([*arguments, "--json"], ["--json", *arguments]):
        again = irosh.run(*as_json)
        answer = json.loads(again.stdout)
        assert again.returncode == 2
        assert again.stderr == b""
        assert answer["ok"] is False
        assert answer["error"]["code"] == "usage"
        assert message in answer["error"]["message"]


def test_failures_end_with_status_1(irosh: Irosh) -> None:
    done = irosh.run("peer", "show", "nobody")
    assert done.returncode == 1
    assert b"no peer is named 'nobody'" in done.stderr
    assert irosh.failure("peer", "show", "nobody")["code"] == "unknown-target"


def test_version(irosh: Irosh) -> None:
    assert irosh.run("version").stdout.decode() == f"irosh {__version__}\n"
    assert irosh.call("version") == {"ok": True, "version": __version__}


def test_python_can_run_it_as_a_module() -> None:
    done = LOCAL.run(sys.executable, "-m", "irosh", "version")
    assert done.stdout.decode() == f"irosh {__version__}\n"


def test_nothing_is_coloured_but_on_a_terminal(irosh: Irosh) -> None:
    for arguments in (["peer", "list"], ["status"], ["config", "show"], ["peer", "show", "nobody"]):
        done = irosh.run(*arguments)
        assert b"\x1b" not in done.stdout + done.stderr


def test_a_reader_that_has_left_ends_a_command_as_sigpipe_would(irosh: Irosh) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        process = LOCAL.popen(*irosh.command, "version", stdout=writing, stderr=subprocess.PIPE)
    finally:
        os.close(writing)
    assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == 128 + signal.SIGPIPE


def test_a_full_disk_behind_standard_output_is_told(irosh: Irosh) -> None:
    done = LOCAL.run("sh", "-c", f"{shlex.join(irosh.command)} version > /dev/full", check=False)
    assert (done.returncode, done.stderr) == (1, b"irosh: cannot write the output: No space left on device\n")
