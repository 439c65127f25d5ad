"""Console transcripts: which commands a block shows on which machine, and what each must print. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.docs.markdown import Block, Page

_PROMPT = re.compile(r"(?P<machine>[a-z]+)\$ (?P<command>\S.*)")
_KEEPS_RUNNING = re.compile(
    r"irosh( --?\w+)* (host|relay serve|nostr relay|tunnel open|proxy --listen|gateway serve|connect\b.* -N"
    r"|(?:status|telemetry)\b.* --watch)\b"
    r"|python3 -m http\.server\b"
)
_PASTES = re.compile(r"irosh\b.* --mode (custom|iroh-manual)\b(?!.*-file\b)", re.DOTALL)
_GAP = re.compile(r"(?<=\S) {2,}")
INTERRUPT = "^C"
SCRIPT_MACHINE = "laptop"
ASK_STATUS = "echo $?"


@dataclass
class Step:
    """One command of a page and the output it shows; ``interrupted``: what is shown behind ``^C``, None without."""

    where: str
    """Page and line."""
    machine: str
    command: str
    output: list[str] = field(default_factory=list)
    interrupted: list[str] | None = None

    @property
    def keeps_running(self) -> bool:
        """Whether the command runs until it is interrupted."""
        return _KEEPS_RUNNING.match(self.command) is not None

    @property
    def pastes(self) -> bool:
        """Whether somebody carries its offers and answers from one screen to the other."""
        return _PASTES.match(self.command) is not None


def steps_of(page: Page) -> list[Step]:
    """All commands of a page in their order. ``AssertionError`` for a block that is no transcript."""
    steps: list[Step] = []
    for block in page.blocks:
        if block.kind == "console":
            steps += _console_steps(page.name, block)
        elif block.kind == "sh":
            steps.append(Step(f"{page.name}:{block.line}", SCRIPT_MACHINE, "\n".join(["set -e", *block.lines])))
    return steps


def _console_steps(page: str, block: Block) -> list[Step]:
    steps: list[Step] = []
    for number, line in enumerate(block.lines, block.line):
        if prompt := _PROMPT.fullmatch(line):
            steps.append(Step(f"{page}:{number}", prompt["machine"], prompt["command"]))
            continue
        assert steps, f"{page}:{number}: a console block begins with a prompt such as `laptop$ `"
        step = steps[-1]
        if step.command.endswith("\\") and not step.output:
            assert line.startswith("> "), f"{page}:{number}: the line continues a command, so it begins with `> `"
            step.command += f"\n{line[2:]}"
        elif line == INTERRUPT:
            step.interrupted = []
        elif step.interrupted is not None:
            step.interrupted.append(line)
        else:
            step.output.append(line)
    return steps


def shows_all(shown: Sequence[str], output: str) -> bool:
    """Whether ``shown``, with ``...`` for anything, is all of ``output``, however wide its columns are."""
    return re.fullmatch(_pattern(shown), _normal(output)) is not None


def shows_beginning(shown: Sequence[str], output: str) -> bool:
    """Whether ``shown`` is the beginning of ``output``, up to the end of a line."""
    return re.match(_pattern(shown), _normal(output)) is not None


def shown_beginning(shown: Sequence[str], output: str) -> str:
    """What of ``output`` follows the beginning that :func:`shows_beginning` found."""
    normal = _normal(output)
    match = re.match(_pattern(shown), normal)
    return normal[match.end() :] if match else normal


def _normal(output: str) -> str:
    """Each line as :func:`_plain` has it, without empty ones at the end, and with a line end."""
    return "".join(f"{_plain(line)}\n" for line in output.rstrip().splitlines())


def _plain(line: str) -> str:
    """Without white space at the end, and with two spaces between columns, however wide they are."""
    return _GAP.sub("  ", line.rstrip())


def _pattern(shown: Sequence[str]) -> str:
    lines = [_plain(line) for line in shown]
    while lines and not lines[-1]:
        lines.pop()
    return "".join(r"(?:.*\n)*?" if line == "..." else f"{_line_pattern(line)}\n" for line in lines)


def _line_pattern(line: str) -> str:
    return ".*?".join(re.escape(part) for part in line.split("..."))
