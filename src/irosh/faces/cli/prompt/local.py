"""Commands of the prompt about files on this machine: ``lls``, ``lcd``, ``lpwd``; and completion of their paths."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.prompt_line import PromptLine
from irosh.core.wording import escape
from irosh.core.words import quote_word, split_words, unfinished_word
from irosh.faces.cli.amounts import size
from irosh.faces.cli.prompt.commands import Candidate
from irosh.faces.cli.prompt.context import PromptContext

MOST_LISTED = 2000
_LONGEST_NAME = 255


def lls(context: PromptContext, line: PromptLine) -> None:
    """List a folder, or one file."""
    words = arguments(line)
    long = "-l" in words
    names = [word for word in words if word != "-l"]
    if len(names) > 1:
        raise IroshError(ErrorCode.USAGE, "lls takes one path", "put spaces in quotes")
    path = local_path(context, names[0] if names else "")
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name) if path.is_dir() else [_Single(path)]
        shown = [_long(entry) if long else _name(entry) for entry in entries[:MOST_LISTED]]
    except OSError as error:
        raise _failed(path, error) from None
    if len(entries) > MOST_LISTED:
        shown.append(f"… and {len(entries) - MOST_LISTED} more")
    if shown:
        context.say("\n".join(shown) if long else columns(shown, _width()))


def lcd(context: PromptContext, line: PromptLine) -> None:
    """Local paths begin elsewhere from now on; without one at home."""
    words = arguments(line)
    if len(words) > 1:
        raise IroshError(ErrorCode.USAGE, "lcd takes one path", "put spaces in quotes")
    path = local_path(context, words[0] if words else "~")
    try:
        next(path.iterdir(), None)  # whether it is a folder that may be listed
        context.directory = path.resolve()
    except OSError as error:
        raise _failed(path, error) from None


def lpwd(context: PromptContext, line: PromptLine) -> None:
    """Show where local paths begin."""
    if line.rest:
        raise IroshError(ErrorCode.USAGE, "lpwd takes nothing")
    context.say(escape(str(context.directory), 4096))


def complete_path(context: PromptContext, _line: PromptLine, text: str) -> Iterable[Candidate]:
    """Local paths for the word that ``text`` ends with."""
    return local_candidates(context, text, folders_only=False)


def complete_folder(context: PromptContext, _line: PromptLine, text: str) -> Iterable[Candidate]:
    """Local folders likewise."""
    return local_candidates(context, text, folders_only=True)


def local_candidates(context: PromptContext, text: str, *, folders_only: bool) -> Iterable[Candidate]:
    """What the last word of ``text`` may become as a path here."""
    word = unfinished_word(text)
    folder, _, _ = word.text.rpartition("/")
    root = "/" if word.text.startswith("/") and not folder else folder
    try:
        found = [entry.name + ("/" if entry.is_dir() else "") for entry in os.scandir(local_path(context, root))]
    except (OSError, ValueError):
        return ()
    return path_candidates(text, [name for name in found if name.endswith("/") or not folders_only])


def path_candidates(text: str, names: Sequence[str]) -> list[Candidate]:
    """Those of ``names``, folders with ``/`` at the end, that go on with the last word of ``text``.

    Names with characters that cannot be typed are left out: they could do anything to the terminal.
    """
    word = unfinished_word(text)
    folder, slash, begun = word.text.rpartition("/")
    replaces = len(text) - word.start
    candidates = []
    for name in sorted(names):
        if not name.startswith(begun) or not name.isprintable() or (name.startswith(".") and not begun):
            continue
        quote = word.open if word.open in ("'", '"') else ""
        whole = quote_word(f"{folder}{slash}{name}", quote)
        if not quote and word.text.startswith("~"):
            whole = "~" + quote_word(f"{folder}{slash}{name}"[1:])
        behind = "" if name.endswith("/") else f"{quote} "
        candidates.append(Candidate(whole + behind, replaces, name))
    return candidates


def arguments(line: PromptLine) -> list[str]:
    """The words behind a command. ``IroshError`` (usage) when a quote is left open."""
    words = split_words(line.rest)
    if words and words[-1].open:
        place = line.column + words[-1].start + 1
        raise IroshError(ErrorCode.USAGE, f"character {place}: the {words[-1].open} is not closed")
    return [word.text for word in words]


def local_path(context: PromptContext, text: str) -> Path:
    """A path here as it was typed: ``~`` is home, and others begin where ``lcd`` went."""
    return context.directory / Path(text).expanduser() if text.startswith("~") else context.directory / text


def columns(names: Sequence[str], width: int) -> str:
    """``names`` in columns, filled downward as ls(1) does, in lines of at most ``width``."""
    wide = max(len(name) for name in names) + 2
    count = max(1, (width + 2) // wide)
    rows = -(-len(names) // count)
    lines = (names[row::rows] for row in range(rows))
    return "\n".join("".join(name.ljust(wide) for name in each).rstrip() for each in lines)


class _Single:
    """One file as a folder would list it."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self.stat()

    def is_dir(self) -> bool:
        return False

    def stat(self) -> os.stat_result:
        return self._path.stat()


def _name(entry: os.DirEntry[str] | _Single) -> str:
    return escape(entry.name, _LONGEST_NAME) + ("/" if entry.is_dir() else "")


def _long(entry: os.DirEntry[str] | _Single) -> str:
    try:
        found = entry.stat()
    except OSError as error:
        return f"{'?':>9}  {'?':16}  {_name(entry)}: {error.strerror}"
    changed = time.strftime("%Y-%m-%d %H:%M", time.localtime(found.st_mtime))
    return f"{size(found.st_size):>9}  {changed:16}  {_name(entry)}"


def _width() -> int:
    import shutil

    return shutil.get_terminal_size().columns


def _failed(path: Path, error: OSError) -> IroshError:
    return IroshError(ErrorCode.USAGE, f"{escape(str(path), 200)}: {error.strerror}")
