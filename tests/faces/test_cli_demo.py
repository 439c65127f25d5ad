"""``irosh demo``: it works, it can be watched, and it leaves nothing behind, however it ends."""

from __future__ import annotations

import json
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.faces.cli.demo_services import dns_address, dns_answer, dns_query
from tests.lab.irosh_process import PROGRAM, Irosh
from tests.lab.machine import LOCAL
from tests.lab.processes import ProcessIdentity, process_tree, wait_until
from tests.lab.requirements import requires
from tests.lab.terminal import Terminal

STEPS = ["relay", "host", "connect", "tunnel", "command", "file", "http", "dns", "path"]
STEPS += ["session", "nostr", "custom", "stranger", "revoke"]
DEADLINE = 150.0


@pytest.fixture
def irosh(tmp_path: Path) -> Iterator[Irosh]:
    """Runs the demo with a directory for temporary files of its own, which must be empty again afterwards."""
    directory = tmp_path / "tmp"
    directory.mkdir()
    made = Irosh(LOCAL, tmp_path / "state", environment={"TMPDIR": str(directory)})
    before = set(made.state.iterdir())
    yield made
    assert set(made.state.iterdir()) == before, "the demo touched the user's own state"
    assert list(directory.iterdir()) == []
    wait_until(lambda: not _processes_of(directory), what="all processes of the demo are gone")


def test_every_step_passes(irosh: Irosh) -> None:
    done = irosh.run("demo", "--json", timeout=DEADLINE)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stdout
    assert done.stderr == b""
    assert [event["step"] for event in events[:-1]] == STEPS
    assert all(event["passed"] for event in events[:-1])
    assert events[-1]["event"] == "done"
    steps = {event["step"]: event for event in events[:-1]}
    assert steps["connect"]["peer"] == "demo-host"
    assert steps["connect"]["id"] == steps["host"]["id"]
    assert steps["command"]["status"] == 7
    assert steps["file"]["bytes"] == 8_000_000
    assert steps["http"]["status"] == 200
    assert steps["dns"]["address"] == "192.0.2.7"
    assert steps["path"]["path"] in ("direct", "relayed")
    assert steps["session"]["suspended"] > 1
    assert steps["nostr"]["npub"].startswith("npub1")
    assert steps["custom"]["path"] == "direct"
    assert steps["stranger"]["code"] == "invite-used"
    assert steps["revoke"]["code"] == "revoked"


def test_the_watcher_sees_one_line_for_each_step(irosh: Irosh) -> None:
    done = irosh.run("demo", timeout=DEADLINE)
    assert done.returncode == 0, done.stdout
    text = done.stdout.decode()
    assert "\x1b" not in text
    assert "\r" not in text
    lines = [line for line in text.splitlines() if line.startswith("  ✓ ")]
    assert [line.split()[1] for line in lines] == STEPS
    assert len({len(line) for line in lines}) == 1, "the times are aligned"
    assert all(line.endswith(" s") and len(line) <= 80 for line in lines)
    assert "nothing is left behind" in text


def test_a_terminal_that_knows_no_check_marks(irosh: Irosh) -> None:
    irosh.environment["PYTHONIOENCODING"] = "ascii"
    done = irosh.run("demo", timeout=DEADLINE)
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.decode("ascii").splitlines() if line.startswith("  + ")] == STEPS


@requires("tmux")
def test_on_a_terminal_the_lines_replace_one_another(irosh: Irosh, tmp_path: Path) -> None:
    with Terminal.open(
        LOCAL, tmp_path, *irosh.command, "demo", columns=80, environment={**irosh.environment, "LANG": "C.UTF-8"}
    ) as terminal:
        wait_until(lambda: "  · tunnel" in terminal.screen(), timeout=DEADLINE, what="a step is under way")
        wait_until(lambda: "nothing is left behind" in terminal.screen(), timeout=DEADLINE, what="the demo ends")
        lines = terminal.screen().splitlines()
    assert [line.split()[1] for line in lines if line.startswith("  ✓ ")] == STEPS
    assert not any(line.startswith("  · ") for line in lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("after", ["relay", "tunnel", "path"])
def test_interrupted_it_cleans_up(irosh: Irosh, number: signal.Signals, after: str) -> None:
    with irosh.start("demo") as process:
        process.wait_event("step", step=after, timeout=DEADLINE)
        tree = process_tree(process.pid)
        process.process.send_signal(number)
        process.process.send_signal(number)  # an impatient person
        assert process.wait_exit() == 130
        _wait_gone(tree)
        assert len(tree) > 1


def test_a_step_that_fails_says_which_and_why(irosh: Irosh, tmp_path: Path) -> None:
    with _broken("host", tmp_path, "echo 'a log line' >&2; echo 'the \033[31mreason' >&2; exit 3") as command:
        done = LOCAL.run(*command, "demo", environment=irosh.environment, timeout=DEADLINE, check=False)
        text = done.stdout.decode()
        assert done.returncode == 1
        assert [line.split()[1] for line in text.splitlines() if line.startswith("  ✓ ")] == ["relay"]
        [failed] = [line for line in text.splitlines() if line.startswith("  ✗ ")]
        assert failed.split()[1] == "host"
        assert "exit status 3" in failed
        assert "      a log line\n      the \\x1b[31mreason\n" in text
        assert "the step 'host' failed" in done.stderr.decode()
        assert "left behind" not in text

        done = LOCAL.run(*command, "demo", "--json", environment=irosh.environment, timeout=DEADLINE, check=False)
        *_, step, end = [json.loads(line) for line in done.stdout.splitlines()]
        assert (step["step"], step["passed"]) == ("host", False)
        assert step["stderr"] == ["a log line", "the \x1b[31mreason"]
        assert end["ok"] is False
        assert "'host'" in end["error"]["message"]


def test_a_step_that_fails_with_a_reason_passes_it_on(irosh: Irosh, tmp_path: Path) -> None:
    error = '{"ok": false, "error": {"code": "port-taken", "message": "the port is taken", "hint": "try another"}}'
    with _broken("relay", tmp_path, f"echo '{error}'; exit 1") as command:
        done = LOCAL.run(*command, "demo", "--json", environment=irosh.environment, timeout=DEADLINE, check=False)
    assert done.returncode == 1
    end = json.loads(done.stdout.splitlines()[-1])
    assert end["error"]["code"] == "port-taken"
    assert "the port is taken" in end["error"]["message"]


def _processes_of(directory: Path) -> list[int]:
    """The processes that have ``directory`` in their environment or on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdecimal() and any(
                str(directory).encode() in (entry / name).read_bytes() for name in ("environ", "cmdline")
            ):
                found.append(int(entry.name))
    return found


@contextmanager
def _broken(command: str, directory: Path, instead: str) -> Iterator[tuple[str, ...]]:
    """The program, as it is when ``command`` does something else, started by itself too."""
    wrapper = directory / "irosh"
    wrapper.write_text(
        f'#!/bin/sh\nfor word in "$@"; do [ "$word" = {command} ] && {{ {instead}; }}; done\nexec {PROGRAM} "$@"\n'
    )
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    start = f"import sys; sys.argv[0] = {str(wrapper)!r}; from irosh.faces.cli.main import main; main()"
    yield (sys.executable, "-c", start)


def _wait_gone(tree: set[ProcessIdentity]) -> None:
    wait_until(lambda: not any(each.alive for each in tree), what="all processes of the demo are gone")


@given(st.integers(0, 0xFFFF), st.lists(st.from_regex(r"[a-z]{1,20}", fullmatch=True), min_size=1, max_size=5))
def test_the_name_server_answers_its_queries_only(identifier: int, labels: list[str]) -> None:
    query = dns_query(identifier, ".".join(labels))
    answer = dns_answer(query, "192.0.2.7")
    assert dns_address(query, answer) == "192.0.2.7"
    other = dns_query(identifier ^ 1, ".".join(labels))
    for wrong in (dns_answer(other, "192.0.2.7"), answer[:-1], b"", query):
        with pytest.raises(ValueError, match="no answer"):
            dns_address(query, wrong)
