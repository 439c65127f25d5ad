"""TCP throughput with iperf3."""

from __future__ import annotations

import json

from bench.measuring import BenchError
from bench.places import Place
from bench.programs import Program, find_program, run, started

_PACKAGE = "iperf3"
_GRACE = 60.0  # seconds for connecting and for the last bytes of a slow way


def iperf_server(place: Place, port: int) -> Program:
    """An iperf3 server as a program in ``place``, listening on all its addresses."""
    iperf3 = find_program("iperf3", _PACKAGE)
    command = place.command(iperf3, "--server", "--port", str(port), "--forceflush")
    return started(command, lambda line: "listening" in line)


def throughput(place: Place, host: str, port: int, seconds: int, *, reverse: bool) -> float:
    """MB/s that arrive: from ``place`` to the server or, with ``reverse``, from the server."""
    iperf3 = find_program("iperf3", _PACKAGE)
    command = [iperf3, "--json", "--client", host, "--port", str(port), "--time", str(seconds)]
    output = run(place.command(*command, *(["--reverse"] if reverse else [])), deadline=seconds + _GRACE)
    report = json.loads(output)
    try:
        return float(report["end"]["sum_received"]["bits_per_second"]) / 8e6
    except KeyError:
        raise BenchError(f"iperf3: {report.get('error', 'no result')}") from None
