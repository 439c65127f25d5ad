"""Bech32 (BIP-173) of 32 bytes: the text form of Nostr's keys, ``npub1…`` and ``nsec1…`` (NIP-19). Pure."""

from __future__ import annotations

from irosh.core.wording import quoted

ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
SIZE = 32
_CHECKSUM = 6
_DATA = (SIZE * 8 + 4) // 5
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


class Bech32Error(ValueError):
    """Text that is not bech32 of 32 bytes; the message goes on from "it "."""


def encode(prefix: str, data: bytes) -> str:
    """``data`` (32 bytes) under ``prefix``, which is lower-case ASCII."""
    number = int.from_bytes(data, "big") << (_DATA * 5 - SIZE * 8)
    values = [number >> shift & 31 for shift in range(_DATA * 5 - 5, -1, -5)]
    checksum = _polymod([*_expanded(prefix), *values, *([0] * _CHECKSUM)]) ^ 1
    values += [checksum >> 5 * (_CHECKSUM - 1 - index) & 31 for index in range(_CHECKSUM)]
    return prefix + "1" + "".join(ALPHABET[value] for value in values)


def decode(prefix: str, text: str) -> bytes:
    """The 32 bytes that ``text`` stands for, in lower or upper case, not mixed.

    Raises:
        Bech32Error: another prefix or length, an illegal character, a wrong checksum.
    """
    length = len(prefix) + 1 + _DATA + _CHECKSUM
    if len(text) != length:
        raise Bech32Error(f"has {len(text)} characters, not {length}")
    if text not in (text.lower(), text.upper()):
        raise Bech32Error("mixes upper and lower case")
    word = text.lower()
    if not word.startswith(prefix + "1"):
        raise Bech32Error(f"does not begin with {prefix}1")
    values = []
    for character in word[len(prefix) + 1 :]:
        value = ALPHABET.find(character)
        if value < 0:
            raise Bech32Error(f"has an illegal character {quoted(character)}")
        values.append(value)
    if _polymod([*_expanded(prefix), *values]) != 1:
        raise Bech32Error("is mistyped: its checksum is wrong")
    number = 0
    for value in values[:_DATA]:
        number = number << 5 | value
    surplus = _DATA * 5 - SIZE * 8
    if number & ((1 << surplus) - 1):
        raise Bech32Error("has surplus bits")
    return (number >> surplus).to_bytes(SIZE, "big")


def _expanded(prefix: str) -> list[int]:
    codes = prefix.encode("ascii")
    return [*(code >> 5 for code in codes), 0, *(code & 31 for code in codes)]


def _polymod(values: list[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for index, generator in enumerate(_GENERATORS):
            if top >> index & 1:
                check ^= generator
    return check
