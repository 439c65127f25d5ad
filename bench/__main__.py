"""``python -m bench [NAME…]``: run benchmarks; Markdown on stdout, JSON into ``bench/results/``."""

from __future__ import annotations

import argparse
import compileall
import json
import signal
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import FrameType

from bench.machine import Neighbours, busy_warning, facts
from bench.measuring import BenchError, Effort, Skipped, progress_done
from bench.programs import REPOSITORY
from bench.results import Report

BENCHMARKS = (
    "tunnel",
    "forwards",
    "connect",
    "echo",
    "modes",
    "memory",
    "wheel",
    "relay",
    "ways_through",
    "recovery",
    "paths",
    "vpn",
    "sessions",
    "interrupt",
    "transfer",
)
RESULTS = Path(__file__).parent / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """The program. Exit status 1 when a benchmark failed; one that was skipped is no failure."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)  # so that namespaces and programs are removed then too
    if sys.platform != "linux":
        print("bench: CPU time and memory are read from /proc, which only Linux has", file=sys.stderr)
        return 1
    machine = facts()
    print("# Benchmarks\n")
    print("Medians (least..most) of rounds in which the contenders take turns; ratios: medians of rounds' ratios.\n")
    print("\n".join(f"- {name}: {value}" for name, value in machine.items()), end="\n\n", flush=True)
    _warn_before()
    # As an installation does it: else commands of a checkout where Python may not write compile what they import anew.
    compileall.compile_dir(REPOSITORY / "src", quiet=1)
    effort = Effort(options.repeat or (1 if options.quick else 5), options.quick)
    reports = []
    for name in options.names or BENCHMARKS:
        report = _run(name, effort)
        print(report.to_markdown(), flush=True)
        reports.append(report)
    path = _save(options.output, machine, effort, reports)
    print(f"bench: {path}", file=sys.stderr)
    return 1 if any(report.outcome == "failed" for report in reports) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *BENCHMARKS], help=", ".join(BENCHMARKS))
    parser.add_argument("--repeat", type=_positive, metavar="N", help="rounds (default 5)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, the figures mean nothing")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR", help="where the JSON goes")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError("a whole number above 0")
    return int(text)


def _run(name: str, effort: Effort) -> Report:
    print(f"bench: {name}", file=sys.stderr, flush=True)
    benchmark = import_module(f"bench.{name}")
    report = Report(name, benchmark.TITLE)
    neighbours = Neighbours()
    try:
        report.measurements = benchmark.run(effort)
    except Skipped as reason:
        report.outcome, report.problem = "skipped", str(reason)
    except BenchError as error:
        report.outcome, report.problem = "failed", str(error)
    progress_done()
    if not report.measurements:
        return report
    if effort.quick:
        report.warnings.append("a quick run: these figures mean nothing.")
    elif warning := busy_warning(neighbours.share()):
        report.warnings.append(warning)
    return report


def _warn_before() -> None:
    neighbours = Neighbours()
    time.sleep(0.5)
    if warning := busy_warning(neighbours.share()):
        print(f"bench: {warning}", file=sys.stderr)


def _save(directory: Path, machine: dict[str, str], effort: Effort, reports: Sequence[Report]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / time.strftime("%Y-%m-%dT%H%M%S.json")
    content = {
        "machine": machine,
        "repeats": effort.repeats,
        "quick": effort.quick,
        "benchmarks": [report.to_dict() for report in reports],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
