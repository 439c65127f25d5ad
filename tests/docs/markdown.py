"""What the tests need to know of a Markdown page: its fenced blocks, code spans, links and headings. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r"```(?P<kind>[a-z]*)\s*$")
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LINK = re.compile(r"(?<!!)\[[^\]\n]+\]\(([^)\s]+)\)")
_AFTER = re.compile(r"<!-- after: (\S+) -->")
_HEADING = re.compile(r"#{1,6} (.+)")
_NOT_IN_ANCHOR = re.compile(r"[^\w\- ]")


@dataclass(frozen=True)
class Block:
    """A fenced block: the word behind its fence, its lines, and the number of the first of them."""

    kind: str
    lines: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class Page:
    """One page, read once."""

    path: Path
    blocks: tuple[Block, ...]
    prose: str
    """The page without its blocks; a line each, so that spans and links do not cross blocks."""

    @property
    def name(self) -> str:
        """The path as people write it."""
        return str(self.path.relative_to(ROOT)) if self.path.is_relative_to(ROOT) else str(self.path)

    @property
    def after(self) -> str | None:
        """The page whose commands are run before this one's."""
        match = _AFTER.search(self.prose)
        return match[1] if match else None

    def spans(self) -> list[str]:
        """All code spans."""
        return _SPAN.findall(self.prose)

    def links(self) -> list[str]:
        """The targets of all links."""
        return _LINK.findall(_SPAN.sub("", self.prose))

    def anchors(self) -> set[str]:
        """What a link to one of the headings has behind the ``#``, by the rule of the common forges."""
        headings = (match[1] for line in self.prose.splitlines() if (match := _HEADING.fullmatch(line)))
        return {_NOT_IN_ANCHOR.sub("", heading.replace("`", "")).lower().replace(" ", "-") for heading in headings}


def read_page(path: Path) -> Page:
    """The page at ``path``. ``AssertionError`` for a block that does not end."""
    return parse_page(path, path.read_text())


def parse_page(path: Path, text: str) -> Page:
    """As :func:`read_page`, for a text."""
    blocks: list[Block] = []
    prose: list[str] = []
    lines = enumerate(text.splitlines(), 1)
    for number, line in lines:
        if (fence := _FENCE.fullmatch(line)) is None:
            prose.append(line)
            continue
        blocks.append(Block(fence["kind"], tuple(_until_fence(lines, path, number)), number + 1))
    return Page(path, tuple(blocks), "\n".join(prose))


def _until_fence(lines: Iterator[tuple[int, str]], path: Path, begin: int) -> Iterator[str]:
    for _, line in lines:
        if line.rstrip() == "```":
            return
        yield line
    raise AssertionError(f"{path}:{begin}: the block does not end")
