"""How things are measured: contenders take turns, so that what disturbs the machine disturbs them alike."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

Figures = Mapping[str, float]
"""What one run of a contender yields: name of the figure → value."""

Contender = Callable[[], Figures]


class Skipped(Exception):
    """A benchmark that cannot run here; the text says what is missing."""


class BenchError(Exception):
    """A benchmark that went wrong; the text says how."""


@dataclass(frozen=True)
class Effort:
    """How much work to spend. ``quick``: tiny sizes, to see that all of it runs; its figures mean nothing."""

    repeats: int
    quick: bool = False

    def pick(self, full: T, quick: T) -> T:
        """The size of something: ``full``, or ``quick`` when only that matters."""
        return quick if self.quick else full


def interleaved(contenders: Mapping[str, Contender], repeats: int) -> dict[str, dict[str, list[float]]]:
    """Run the contenders in turn (A B C A B C …), ``repeats`` times.

    Returns figure → contender → one value for each round; the values of a round belong together.
    """
    results: dict[str, dict[str, list[float]]] = {}
    for number in range(1, repeats + 1):
        for name, contender in contenders.items():
            progress(f"round {number} of {repeats}: {name}")
            for figure, value in contender().items():
                results.setdefault(figure, {}).setdefault(name, []).append(value)
    return results


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` (0 to 1) of the values do not exceed: nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def progress(text: str) -> None:
    """Tell whoever waits what is going on: on stderr, overwritten by the next if that is a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K  {text}", end="", file=sys.stderr, flush=True)
    else:
        print(f"  {text}", file=sys.stderr, flush=True)


def progress_done() -> None:
    """Clear the last of it from the terminal."""
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
