"""A word that was pasted, such as a ticket, without what pasting adds. Pure."""

from __future__ import annotations

# What programs and people put around it (quotes, brackets) and into it (characters nobody sees).
_WRAPPERS = frozenset("\"'`<>\u00ab\u00bb\u2018\u2019\u201c\u201d")
_INVISIBLE = frozenset("\u00ad\u200b\u200c\u200d\u2060\ufeff")


class Pasted:
    """A text without what pasting added, ASCII letters in lower case; knows where each character was."""

    def __init__(self, text: str) -> None:
        kept = [
            (position, character)
            for position, character in enumerate(text, 1)
            if not character.isspace() and character not in _INVISIBLE
        ]
        start, end = 0, len(kept)
        while start < end and kept[start][1] in _WRAPPERS:
            start += 1
        while end > start and kept[end - 1][1] in _WRAPPERS:
            end -= 1
        self._positions = [position for position, _ in kept[start:end]]
        # Not str.lower() on everything: U+212A, the Kelvin sign, would become a harmless k.
        self.text = "".join(c.lower() if c.isascii() else c for _, c in kept[start:end])

    def position(self, index: int) -> int:
        """The 1-based position in the original text of the character at ``index`` of :attr:`text`."""
        return self._positions[index]
