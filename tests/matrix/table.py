"""The table of docs/networks.md: written from what was measured, and read again by a test."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from irosh.core.mode import Mode
from tests.docs.markdown import ROOT
from tests.matrix.measure import Measured
from tests.matrix.theory import Outcome

PAGE = ROOT / "docs" / "networks.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

Column = tuple[Mode, bool]
COLUMNS: tuple[Column, ...] = (
    (Mode.IROH_DEFAULT, True),
    (Mode.IROH_DEFAULT, False),
    (Mode.IROH_MANUAL, False),
    (Mode.CUSTOM, True),
    (Mode.CUSTOM, False),
    (Mode.NOSTR, True),
    (Mode.NOSTR, False),
)


def modes_measured(*, relay: bool) -> list[Mode]:
    """Those with a column for it: iroh-manual has no relay anyway."""
    return [mode for mode, relayed in COLUMNS if relayed is relay]


def table(rows: Mapping[str, Iterable[Measured]]) -> str:
    """Markdown; ``rows`` by the name of the place."""
    return "\n".join([*_head(), *_lines(rows).values()])


def _head() -> list[str]:
    return [_row(["host / client", *(_title(column) for column in COLUMNS)]), _row(["---"] * (len(COLUMNS) + 1))]


def _lines(rows: Mapping[str, Iterable[Measured]]) -> dict[str, str]:
    lines = {}
    for name, measured in rows.items():
        cells = {(each.mode, each.relay): f"{each.outcome} {each.seconds:.1f}" for each in measured}
        lines[name] = _row([name, *(cells[column] for column in COLUMNS)])
    return lines


def write(rows: Mapping[str, Iterable[Measured]], page: Path = PAGE) -> None:
    """Put the table into the page, where the lines of other places stay."""
    before, begin, rest = page.read_text().partition(BEGIN)
    old, end, after = rest.partition(END)
    assert begin and end, f"{page} has no place for the table"
    kept = {line.strip("| ").partition(" | ")[0]: line for line in old.strip().splitlines()[2:]}
    text = "\n".join([*_head(), *(kept | _lines(rows)).values()])
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def read(page: Path = PAGE) -> dict[str, dict[Column, Outcome]]:
    """The outcomes on the page, by place and column."""
    text = page.read_text().partition(BEGIN)[2].partition(END)[0]
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.strip().splitlines()]
    assert rows[0][1:] == [_title(column) for column in COLUMNS]
    return {name: dict(zip(COLUMNS, map(_outcome, cells), strict=True)) for name, *cells in rows[2:]}


def _outcome(cell: str) -> Outcome:
    match = re.fullmatch(r"(\w+) \d+\.\d", cell)
    assert match, cell
    return Outcome(match[1])


def _title(column: Column) -> str:
    mode, relay = column
    if mode is Mode.IROH_MANUAL:
        return str(mode)
    return f"{mode}, {'relay' if relay else 'no relay'}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
