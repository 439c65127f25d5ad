"""Measure all places and write the table of docs/networks.md. Needs root and coturn; some 20 minutes on two cores.

python -m tests.matrix [--jobs N] [--only TEXT]... [--print]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.matrix.measure import Measured, measure
from tests.matrix.places import ALL
from tests.matrix.table import modes_measured, table, write
from tests.matrix.theory import Place, expected


def main() -> None:
    """Exit status 1 if anything is not as theory has it; the table is written all the same."""
    options = _parser().parse_args()
    places = [place for place in ALL if any(text in place.name for text in options.only or [""])]
    with ThreadPoolExecutor(options.jobs) as pool:
        measured = dict(zip([place.name for place in places], pool.map(_both, places), strict=True))
    if options.print:
        print(table(measured))
    else:
        write(measured)
    by_name = {place.name: place for place in places}
    wrong = [
        f"{name}: {each}"
        for name, found in measured.items()
        for each in found
        if each.outcome is not expected(each.mode, by_name[name], relay=each.relay)
    ]
    print("\n".join(wrong) or "all as theory has it", file=sys.stderr)
    sys.exit(bool(wrong))


def _both(place: Place) -> list[Measured]:
    found: list[Measured] = []
    for relay in (True, False):
        with tempfile.TemporaryDirectory() as directory:
            found += measure(place, Path(directory), relay=relay, modes=modes_measured(relay=relay))
    print(f"{place.name}: {'; '.join(map(str, found))}", file=sys.stderr, flush=True)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description="What connects, measured.")
    parser.add_argument("--jobs", type=int, default=2, help="places at once (2)")
    parser.add_argument("--only", action="append", metavar="TEXT", help="places with this in their name; repeatable")
    parser.add_argument("--print", action="store_true", help="print the table instead of writing it to the page")
    return parser


if __name__ == "__main__":
    main()
