"""Base32 without padding, lower case (RFC 4648 section 6): the text form of tickets and endpoint ids.

Decoding is strict about everything but letter case, so that one sequence of bytes has exactly one spelling:
an impossible length or left-over bits that are not zero are errors.
"""

from __future__ import annotations

from irosh.core.wording import quoted

ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"

# Characters over a multiple of eight that no whole number of bytes encodes to.
_IMPOSSIBLE_REMAINDERS = (1, 3, 6)
_VALUES = {character: value for value, character in enumerate(ALPHABET)}


class Base32Error(ValueError):
    """Text that is not base32; ``index`` is that of the character at fault, or None if it is the length."""

    def __init__(self, message: str, index: int | None) -> None:
        super().__init__(message)
        self.index = index


def encoded_length(size: int) -> int:
    """The number of characters that ``size`` bytes take."""
    return (size * 8 + 4) // 5


def encode(data: bytes) -> str:
    """``data`` as lower-case base32 without padding."""
    characters = encoded_length(len(data))
    number = int.from_bytes(data, "big") << (characters * 5 - len(data) * 8)
    return "".join(ALPHABET[number >> shift & 31] for shift in range(characters * 5 - 5, -1, -5))


def decode(text: str) -> bytes:
    """The bytes that ``text`` (either case, no padding) stands for.

    Raises:
        Base32Error: an illegal character, an impossible length, or a last character with surplus bits set.
    """
    number = 0
    for index, character in enumerate(text):
        value = _VALUES.get(character.lower() if character.isascii() else character)
        if value is None:
            raise Base32Error(f"illegal character {quoted(character)}", index)
        number = number << 5 | value
    if len(text) % 8 in _IMPOSSIBLE_REMAINDERS:
        raise Base32Error(f"{len(text)} characters is not a possible length", None)
    size, surplus = divmod(len(text) * 5, 8)
    if number & ((1 << surplus) - 1):
        raise Base32Error(f"the last character {quoted(text[-1])} is not possible there", len(text) - 1)
    return (number >> surplus).to_bytes(size, "big")
