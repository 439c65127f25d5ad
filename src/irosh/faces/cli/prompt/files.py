"""Commands of the prompt that copy files to and from the peer."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.prompt_line import PromptLine
from irosh.core.wording import quoted
from irosh.core.words import split_words
from irosh.faces.cli.prompt.commands import Candidate
from irosh.faces.cli.prompt.context import PromptContext
from irosh.faces.cli.prompt.local import arguments, local_candidates, local_path, path_candidates
from irosh.faces.cli.prompt.remote import remote_names

_OPTIONS = {"-r": "recursive", "-a": "resume", "--recursive": "recursive", "--resume": "resume"}


def put(context: PromptContext, line: PromptLine) -> None:
    """Begin to copy local files to the peer; the last of several words is where to."""
    options, words = _taken(line)
    if not words:
        raise IroshError(ErrorCode.USAGE, "put what?", "put LOCAL, or put LOCAL... REMOTE")
    *sources, destination = words if len(words) > 1 else (*words, "")
    paths = [path for source in sources for path in _local_matches(context, source)]
    _begin(context, "put", paths, destination, options)


def get(context: PromptContext, line: PromptLine) -> None:
    """Begin to copy files of the peer to here; the last of several words is where to."""
    options, words = _taken(line)
    if not words:
        raise IroshError(ErrorCode.USAGE, "get what?", "get REMOTE, or get REMOTE... LOCAL")
    *sources, destination = words if len(words) > 1 else (*words, ".")
    _begin(context, "get", sources, str(local_path(context, destination)), options)


def cancel(context: PromptContext, line: PromptLine) -> None:
    """End a transfer, by the number it was begun with."""
    if not (line.rest.isascii() and line.rest.isdecimal()):
        raise IroshError(ErrorCode.USAGE, "cancel takes the number of a transfer", "`status` lists them")
    context.transfers.cancel(int(line.rest))


def complete_put(context: PromptContext, _line: PromptLine, text: str) -> Iterable[Candidate]:
    """Options and local paths, and from the second path on those of the peer too."""
    if options := _option_candidates(text):
        return options
    local = list(local_candidates(context, text, folders_only=False))
    return [*local, *_remote(context, text)] if _position(text) and not local else local


def complete_get(context: PromptContext, _line: PromptLine, text: str) -> Iterable[Candidate]:
    """Options and paths of the peer, and from the second path on those here too."""
    if options := _option_candidates(text):
        return options
    remote = _remote(context, text)
    return local_candidates(context, text, folders_only=True) if _position(text) and not remote else remote


def complete_cancel(context: PromptContext, _line: PromptLine, text: str) -> Iterable[Candidate]:
    """Numbers of transfers."""
    numbers = [str(each.number) for each in context.transfers.running()]
    return [Candidate(number, len(text), number) for number in numbers if number.startswith(text)]


def _begin(context: PromptContext, direction: str, sources: list[str], destination: str, options: set[str]) -> None:
    from irosh.faces.cli.transferring import TransferOptions

    chosen = TransferOptions(recursive="recursive" in options, resume="resume" in options, user=context.user)
    context.transfers.begin("put" if direction == "put" else "get", sources, destination, chosen)


def _taken(line: PromptLine) -> tuple[set[str], list[str]]:
    """The options and the other words."""
    words = arguments(line)
    options: set[str] = set()
    while words and words[0].startswith("-") and len(words[0]) > 1:
        word = words.pop(0)
        if word == "--":
            break
        if word not in _OPTIONS:
            known = ", ".join(_OPTIONS)
            raise IroshError(ErrorCode.USAGE, f"{line.command} has no option {quoted(word)}", f"it has {known}")
        options.add(_OPTIONS[word])
    return options, words


def _local_matches(context: PromptContext, source: str) -> list[str]:
    """The paths that ``source`` stands for, with ``*``, ``?`` and ``[…]``. ``IroshError`` when there is none."""
    path = local_path(context, source)
    if os.path.lexists(path):
        return [str(path)]
    found = sorted(glob.glob(str(path))) if glob.has_magic(source) else []  # noqa: PTH207 - of any folder
    if not found:
        raise IroshError(ErrorCode.USAGE, f"{quoted(source)}: no such file here", f"lpwd: {context.directory}")
    return found


def _option_candidates(text: str) -> list[Candidate]:
    words = split_words(text)
    last = words[-1].text if words and not text[-1].isspace() else ""
    if not last.startswith("-"):
        return []
    return [Candidate(f"{name} ", len(last), name) for name in _OPTIONS if name.startswith(last)]


def _position(text: str) -> int:
    """How many paths stand before the one being typed."""
    words = [word.text for word in split_words(text) if word.text not in _OPTIONS]
    return max(0, len(words) - (0 if text[-1:].isspace() else 1))


def _remote(context: PromptContext, text: str) -> list[Candidate]:
    from irosh.core.words import unfinished_word

    folder = str(Path(unfinished_word(text).text + "x").parent)
    return path_candidates(text, remote_names(context, folder))
