"""TCP throughput with iperf3."""

from __future__ import annotations

import json
import time

from bench.measuring import BenchError
from bench.places import Place
from bench.programs import Program, find_program, run, started

_PACKAGE = "iperf3"
_GRACE = 60.0  # seconds for connecting, for the server to be free, and for the last bytes of a slow way
# The server takes one run at a time, and turns out whoever comes before it has seen the end of the last: with a word,
# or, as it does not read what that one has sent, with a reset.
_BUSY = ("the server is busy", "unable to receive control message: Connection reset")
_AGAIN = 0.5  # seconds


def iperf_server(place: Place, port: int) -> Program:
    """An iperf3 server as a program in ``place``, listening on all its addresses."""
    iperf3 = find_program("iperf3", _PACKAGE)
    command = place.command(iperf3, "--server", "--port", str(port), "--forceflush")
    return started(command, lambda line: "listening" in line)


def throughput(place: Place, host: str, port: int, seconds: int, *, reverse: bool) -> float:
    """MB/s that arrive: from ``place`` to the server or, with ``reverse``, from the server."""
    iperf3 = find_program("iperf3", _PACKAGE)
    command = [iperf3, "--json", "--client", host, "--port", str(port), "--time", str(seconds)]
    deadline = time.monotonic() + _GRACE
    while True:
        output = run(place.command(*command, *(["--reverse"] if reverse else [])), deadline=seconds + _GRACE)
        report = json.loads(output)
        try:
            return float(report["end"]["sum_received"]["bits_per_second"]) / 8e6
        except KeyError:
            error = str(report.get("error", "no result"))
        if not error.startswith(_BUSY) or time.monotonic() > deadline:
            raise BenchError(f"iperf3: {error}")
        time.sleep(_AGAIN)
