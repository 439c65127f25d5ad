"""Words for messages: untrusted text made safe to print, and the known word a person most likely meant."""

from __future__ import annotations

from collections.abc import Iterable


def escape(text: str, limit: int) -> str:
    r"""``text`` in at most ``limit`` printable characters; others become ``\xNN`` or the like.

    Control characters, line breaks, bidirectional overrides and lone surrogates are all escaped, so the
    result can neither move a terminal's cursor, nor forge a line of a log, nor fail to encode as UTF-8. A
    text that was cut ends in ``…``.
    """
    parts: list[str] = []
    room = limit
    for char in text:
        # A backslash is escaped as well, or `\n` written out could not be told from a line break.
        shown = char if char.isprintable() and char != "\\" else ascii(char)[1:-1]
        if len(shown) > room:
            while parts and room < 1:
                room += len(parts.pop())
            parts.append("…"[:limit])
            break
        parts.append(shown)
        room -= len(shown)
    return "".join(parts)


def printable(text: str, limit: int) -> str:
    """The first ``limit`` characters of ``text``, those that cannot be printed escaped as by :func:`escape`.

    Backslashes stay as they are: what went through here before is not changed by going through once more.
    """
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[:limit])


def quoted(text: str) -> str:
    """``text`` escaped, shortened to 80 characters and in single quotes, for a message."""
    return f"'{escape(text, 80)}'"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint: the ``known`` word nearest to ``word``, or the list of them when none is near."""
    # Imported here because only a failing command needs it.
    import difflib

    choices = list(known)
    near = difflib.get_close_matches(word[:80].lower(), choices, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(choices)}"
