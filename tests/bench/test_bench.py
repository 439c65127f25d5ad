"""The benchmarks run, measure what they say, and leave nothing behind. No figure is judged here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.machine import BUSY, busy_warning
from bench.measuring import BenchError, Contender, Skipped, interleaved, percentile
from bench.places import two_namespaces
from bench.programs import Program, run
from bench.results import Aim, Measurement, Report
from bench.usage import MIB, cpu_seconds, memory, process_tree
from irosh.core.mode import Mode

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmarks need Linux")

ROOT = Path(__file__).resolve().parent.parent.parent
SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
MARK = "IROSH_BENCH_TEST"


def bench(output: Path, *arguments: str) -> dict[str, Any]:
    """Run ``python -m bench --quick`` to its end and return what it saved."""
    command = [sys.executable, "-m", "bench", "--quick", "--output", str(output), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (saved,) = output.glob("*.json")
    content: dict[str, Any] = json.loads(saved.read_text())
    return content | {"markdown": done.stdout}


EXPECTED = {
    "tunnel": {"throughput up", "throughput down", "round trip of one byte, median", "CPU up, both ends"},
    "forwards": {
        "-L: throughput up",
        "-D: throughput down",
        "-D: first byte of a new connection",
        "-L: CPU, both ends",
    },
    "connect": {"cold: first byte", "attached: first byte"},
    "modes": {f"{mode}, host with a public address: first byte" for mode in Mode},
    "memory": {"idle host, RSS", "each idle peer, at the host, anonymous"},
    "wheel": {"chunks of 1 MiB", "chunks of 2 KiB", "echo of one byte, median"},
    "relay": {"throughput up", "throughput down", "round trip of one byte, median"},
    "ways_through": {"throughput up", "throughput down", "round trip of one byte, median"},
    "recovery": {"after 1 s"},
    "interrupt": {"10 Mbit/s: until the shell goes on", "10 Mbit/s: what still comes"},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_benchmark_runs(name: str, tmp_path: Path) -> None:
    content = bench(tmp_path / "results", name)
    (report,) = content["benchmarks"]
    if report["outcome"] == "skipped":
        pytest.skip(report["problem"])
    assert report["outcome"] == "done"
    measurements = {measurement["what"]: measurement for measurement in report["measurements"]}
    assert EXPECTED[name] <= set(measurements)
    for measurement in measurements.values():
        subject = measurement["contenders"][measurement["subject"]]
        assert len(subject["values"]) == content["repeats"] == 1
        assert measurement["what"] in content["markdown"]
    for what in EXPECTED[name] - {"each idle peer, at the host, anonymous"}:
        contenders = measurements[what]["contenders"]
        assert len(contenders) >= 2
        assert all(contender["median"] > 0 for contender in contenders.values())
        assert set(measurements[what]["ratios"]) == set(contenders) - {measurements[what]["subject"]}


def test_unknown_benchmark_is_refused() -> None:
    command = [sys.executable, "-m", "bench", "nothing"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "nothing" in done.stderr


def marked(mark: str) -> list[str]:
    """The living processes with ``mark`` in their environment."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={mark}".encode() in environment.read_bytes():
                found.append((environment.parent / "cmdline").read_text())
        except OSError:
            continue
    return [command for command in found if command]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_benchmark_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    environment = os.environ | {MARK: mark, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "tunnel", "--output", str(tmp_path)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if "skipped" in line:
                process.wait(60)
                pytest.skip(line)
            if "round 1" in line:
                break
        assert len(marked(mark)) > 3
        process.send_signal(number)
        process.stdout.read()
        assert process.wait(60) == 130
    assert marked(mark) == []
    assert list(tmp_path.iterdir()) == []
    assert namespaces(process.pid) == []


def namespaces(pid: int) -> list[str]:
    """The network namespaces that the benchmark with this process id has made."""
    return [path.name for path in Path("/run/netns").glob(f"irosh-bench-{pid}-*")]


@pytest.mark.netns
def test_namespaces_reach_each_other_and_nothing_else() -> None:
    try:
        with two_namespaces() as (near, far):
            assert len(namespaces(os.getpid())) == 2
            listen = "import socket; s = socket.create_server(('', 9)); print('up', flush=True); s.accept()"
            with Program(far.command(sys.executable, "-c", listen)) as server:
                server.wait_line(lambda line: line if line == "up\n" else None)
                dial = f"import socket; socket.create_connection(('{far.address}', 9), 10)"
                run(near.command(sys.executable, "-c", dial))
            routes = run(near.command("ip", "route", "show"))
            assert "default" not in routes
            assert "198.18.0.0/30" in routes
    except Skipped as reason:
        pytest.skip(str(reason))
    assert namespaces(os.getpid()) == []


@pytest.mark.netns
def test_namespaces_are_removed_on_failure() -> None:
    try:
        with pytest.raises(BenchError, match="failed"), two_namespaces() as (near, _far):
            run(near.command("false"))
    except Skipped as reason:
        pytest.skip(str(reason))
    assert namespaces(os.getpid()) == []


# -- the parts


def counting(values: list[float], log: list[str], name: str) -> Contender:
    remaining = iter(values)

    def measure() -> dict[str, float]:
        log.append(name)
        return {"figure": next(remaining)}

    return measure


def test_contenders_take_turns() -> None:
    log: list[str] = []
    contenders = {"a": counting([1, 2, 3], log, "a"), "b": counting([4, 5, 6], log, "b")}
    assert interleaved(contenders, 3) == {"figure": {"a": [1, 2, 3], "b": [4, 5, 6]}}
    assert log == ["a", "b"] * 3


def test_ratio_is_taken_round_by_round() -> None:
    # The machine became ten times slower half-way; the subject was twice as fast all the time.
    measurement = Measurement("m", "MB/s", "more", {"ssh": [100, 100, 10], "irosh": [200, 200, 20]})
    assert measurement.ratios() == {"ssh": 2.0}


@pytest.mark.parametrize(
    ("better", "aim", "met"),
    [
        ("more", Aim(0.5, "ssh"), True),
        ("more", Aim(0.51, "ssh"), False),
        ("more", Aim(60), False),
        ("less", Aim(50), True),
        ("less", Aim(49), False),
        ("less", Aim(0.4, "ssh"), False),
        ("less", Aim(0.4, "nobody"), None),
        ("less", None, None),
    ],
)
def test_aim(better: Any, aim: Aim | None, met: bool | None) -> None:
    values = {"ssh": [100.0], "irosh": [50.0]}
    assert Measurement("m", "x", better, values, aim=aim).aim_met() is met


def test_report_as_markdown_and_json() -> None:
    measurements = [
        Measurement("speed", "MB/s", "more", {"ssh": [400, 500, 600], "irosh": [100, 150, 90]}, aim=Aim(0.5, "ssh")),
        Measurement("delay", "ms", "less", {"ssh": [0.1, 0.1, 0.1], "irosh": [0.3, 0.25, 0.31]}),
        Measurement("alone", "MiB", "less", {"irosh": [1.5]}),
    ]
    report = Report("name", "title", measurements, warnings=["busy"])
    lines = report.to_markdown().splitlines()
    assert lines[0] == "## name: title"
    assert "> **Warning:** busy" in lines
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    assert rows[0] == ["", "ssh", "irosh", "irosh ÷ ssh", "aim"]
    speed, delay = rows[2], rows[3]
    assert speed[0] == "speed, MB/s (more is better)"
    assert speed[1:] == ["500 (400..600)", "100 (90.0..150)", "0.250x", "≥ 0.5x ssh: **missed**"]
    assert delay[1:] == ["0.100 (0.100..0.100)", "0.300 (0.250..0.310)", "3.00x", ""]
    assert rows[-1] == ["alone, MiB (less is better)", "1.50"]
    saved = json.loads(json.dumps(report.to_dict()))["measurements"][0]
    assert saved["contenders"]["ssh"] == {"median": 500, "min": 400, "max": 600, "values": [400, 500, 600]}
    assert saved["ratios"]["ssh"] == 0.25
    assert saved["aim"] == {"limit": 0.5, "against": "ssh", "met": False}


def test_percentile() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert percentile(values, 0.99) == 100
    assert percentile(values, 0.5) == 51
    assert percentile([7.0], 0.99) == 7


def test_busy_warning() -> None:
    assert busy_warning(BUSY / 2) is None
    assert "35%" in str(busy_warning(0.35))


@pytest.fixture
def sleeper() -> Iterator[Program]:
    with Program(SLEEP) as program:
        program.wait_line(lambda line: line if line == "up\n" else None)
        yield program


def test_program_is_ended_with_what_it_started() -> None:
    script = f"import subprocess; subprocess.Popen({SLEEP!r}).wait()"
    with Program([sys.executable, "-c", script]) as program:
        program.wait_line(lambda line: line if line == "up\n" else None)
        parent, child = process_tree(program.pid)
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}/cmdline").exists() and not is_zombie(pid) for pid in (parent, child)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_program_that_fails_is_reported_with_its_output() -> None:
    with (
        Program([sys.executable, "-c", "print('something is wrong'); raise SystemExit(3)"]) as program,
        pytest.raises(BenchError, match="something is wrong"),
    ):
        program.wait_line(lambda line: None)


def test_silent_program_is_reported(sleeper: Program) -> None:
    with pytest.raises(BenchError, match="said nothing"):
        sleeper.wait_line(lambda line: line, deadline=0.05)


def test_memory_of_a_process(sleeper: Program) -> None:
    hungry = "x = bytearray(b'x') * (64 << 20); import time; print('up', flush=True); time.sleep(600)"
    with Program([sys.executable, "-c", hungry]) as program:
        program.wait_line(lambda line: line if line == "up\n" else None)
        small, large = memory([sleeper.pid]), memory([program.pid])
        both = memory([sleeper.pid, program.pid])
    assert 60 * MIB < large.anonymous - small.anonymous < 70 * MIB
    assert large.uss >= large.anonymous
    assert large.rss >= large.pss >= large.anonymous
    assert both.anonymous >= large.anonymous + small.anonymous - MIB


def test_memory_of_an_ended_process_is_an_error() -> None:
    with Program(SLEEP) as program:
        pid = program.pid
    with pytest.raises(BenchError):
        memory([pid])


def test_cpu_time_counts_children_that_have_ended() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    script = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}]); print('up', flush=True); input()"
    )
    with Program([sys.executable, "-c", script], stdin=True) as program:
        program.wait_line(lambda line: line if line == "up\n" else None)
        assert cpu_seconds([program.pid]) >= 0.3
