"""Results: medians, spread and ratios, as a Markdown table for people and as JSON for comparing runs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

SUBJECT = "irosh"


@dataclass(frozen=True)
class Aim:
    """What the subject should reach: a limit on its own median or, with ``against``, on its ratio to another's."""

    limit: float
    against: str | None = None


@dataclass(frozen=True)
class Measurement:
    """One figure of several contenders: ``values`` has one value for each round, in ``unit``.

    Ratios are ``subject`` divided by each other contender.
    """

    what: str
    unit: str
    better: Literal["more", "less"]
    values: Mapping[str, Sequence[float]]
    subject: str = SUBJECT
    aim: Aim | None = None

    def median(self, contender: str) -> float:
        """The contender's median over the rounds."""
        return statistics.median(self.values[contender])

    def ratios(self) -> dict[str, float]:
        """The subject's ratio to each other contender: the median of the rounds' ratios, so that drift cancels out."""
        own = self.values[self.subject]
        ratios = {}
        for name, values in self.values.items():
            paired = [mine / theirs for mine, theirs in zip(own, values, strict=True) if theirs]
            if name != self.subject and paired:
                ratios[name] = statistics.median(paired)
        return ratios

    def aim_met(self) -> bool | None:
        """Whether the aim is met; None without one, or when its reference was not measured."""
        if self.aim is None:
            return None
        reached = self.median(self.subject) if self.aim.against is None else self.ratios().get(self.aim.against)
        if reached is None:
            return None
        return reached >= self.aim.limit if self.better == "more" else reached <= self.aim.limit

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "what": self.what,
            "unit": self.unit,
            "better": self.better,
            "subject": self.subject,
            "contenders": {
                name: {
                    "median": self.median(name),
                    "min": min(values),
                    "max": max(values),
                    "values": list(values),
                }
                for name, values in self.values.items()
            },
            "ratios": self.ratios(),
            "aim": None
            if self.aim is None
            else {"limit": self.aim.limit, "against": self.aim.against, "met": self.aim_met()},
        }


@dataclass
class Report:
    """What one benchmark found. ``problem``: why it was skipped, or how it failed."""

    name: str
    title: str
    measurements: Sequence[Measurement] = ()
    outcome: Literal["done", "skipped", "failed"] = "done"
    problem: str = ""
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "outcome": self.outcome,
            "problem": self.problem,
            "warnings": self.warnings,
            "measurements": [measurement.to_dict() for measurement in self.measurements],
        }

    def to_markdown(self) -> str:
        """A heading, warnings, and a table for each set of contenders."""
        lines = [f"## {self.name}: {self.title}", ""]
        if self.problem:
            lines += [f"{self.outcome}: {self.problem}", ""]
        lines += [line for warning in self.warnings for line in (f"> **Warning:** {warning}", "")]
        tables: dict[tuple[str, ...], list[Measurement]] = {}
        for measurement in self.measurements:
            tables.setdefault((measurement.subject, *measurement.values), []).append(measurement)
        for measurements in tables.values():
            lines += [*_table(measurements), ""]
        return "\n".join(lines)


def _table(measurements: Sequence[Measurement]) -> list[str]:
    subject = measurements[0].subject
    names = list(measurements[0].values)
    others = [name for name in names if name != subject]
    with_aims = any(measurement.aim for measurement in measurements)
    header = ["", *names, *(f"{subject} ÷ {name}" for name in others), *(["aim"] if with_aims else [])]
    rows = []
    for measurement in measurements:
        ratios = measurement.ratios()
        row = [f"{measurement.what}, {measurement.unit} ({measurement.better} is better)"]
        row += [_with_spread(measurement.values[name]) for name in names]
        row += [f"{_digits(ratios[name])}x" if name in ratios else "-" for name in others]
        rows.append([*row, *([_aim(measurement)] if with_aims else [])])
    return _aligned([header, *rows])


def _aim(measurement: Measurement) -> str:
    aim = measurement.aim
    if aim is None:
        return ""
    sign = "≥" if measurement.better == "more" else "≤"
    wanted = f"{aim.limit:g} {measurement.unit}" if aim.against is None else f"{aim.limit:g}x {aim.against}"
    verdict = {True: "met", False: "**missed**", None: "unknown"}[measurement.aim_met()]
    return f"{sign} {wanted}: {verdict}"


def _with_spread(values: Sequence[float]) -> str:
    median = _digits(statistics.median(values))
    return median if len(values) < 2 else f"{median} ({_digits(min(values))}..{_digits(max(values))})"


def _digits(value: float) -> str:
    """Three significant digits, without an exponent."""
    for limit, decimals in ((99.95, 0), (9.995, 1), (0.9995, 2)):
        if abs(value) >= limit:
            return f"{value:.{decimals}f}"
    return f"{value:.3f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table: first column left, the others right."""
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in _zip(row, widths)]
        lines.append(f"| {' | '.join(cells)} |")
    rule = ["-" * width if column == 0 else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    lines.insert(1, f"| {' | '.join(rule)} |")
    return lines


def _zip(row: Sequence[str], widths: Sequence[int]) -> enumerate[tuple[str, int]]:
    return enumerate(zip(row, widths, strict=True))
