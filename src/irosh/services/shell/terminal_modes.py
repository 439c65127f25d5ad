"""Terminal modes between termios(3) and the encoded form of SSH (RFC 4254, section 8)."""

from __future__ import annotations

import contextlib
import termios
from collections.abc import Mapping

ModeValues = dict[int, int]

# opcode: index into termios c_cc
_CHARACTERS = {
    1: "VINTR", 2: "VQUIT", 3: "VERASE", 4: "VKILL", 5: "VEOF", 6: "VEOL", 7: "VEOL2", 8: "VSTART", 9: "VSTOP",
    10: "VSUSP", 12: "VREPRINT", 13: "VWERASE", 14: "VLNEXT", 18: "VDISCARD",
}  # fmt: skip
# opcode: flag in c_iflag, c_lflag, c_oflag, c_cflag
_FLAGS: tuple[tuple[int, dict[int, str]], ...] = (
    (0, {
        30: "IGNPAR", 31: "PARMRK", 32: "INPCK", 33: "ISTRIP", 34: "INLCR", 35: "IGNCR", 36: "ICRNL", 37: "IUCLC",
        38: "IXON", 39: "IXANY", 40: "IXOFF", 41: "IMAXBEL", 42: "IUTF8",
    }),
    (3, {
        50: "ISIG", 51: "ICANON", 52: "XCASE", 53: "ECHO", 54: "ECHOE", 55: "ECHOK", 56: "ECHONL", 57: "NOFLSH",
        58: "TOSTOP", 59: "IEXTEN", 60: "ECHOCTL", 61: "ECHOKE", 62: "PENDIN",
    }),
    (1, {70: "OPOST", 71: "OLCUC", 72: "ONLCR", 73: "OCRNL", 74: "ONOCR", 75: "ONLRET"}),
    (2, {90: "CS7", 91: "CS8", 92: "PARENB", 93: "PARODD"}),
)  # fmt: skip
_NO_CHARACTER = 255
_IUTF8 = 0o040000  # Linux; Python's termios lacks it


def _flag(name: str) -> int | None:
    return _IUTF8 if name == "IUTF8" else getattr(termios, name, None)


def read_modes(descriptor: int) -> ModeValues:
    """The modes of the terminal at ``descriptor``."""
    attributes = termios.tcgetattr(descriptor)
    modes: ModeValues = {}
    for opcode, name in _CHARACTERS.items():
        index = getattr(termios, name, None)
        if index is not None and index < len(attributes[6]):
            value = attributes[6][index]
            modes[opcode] = value if isinstance(value, int) else value[0]
    for field, flags in _FLAGS:
        for opcode, name in flags.items():
            if (bit := _flag(name)) is not None:
                modes[opcode] = int(attributes[field] & bit == bit)
    return modes


def apply_modes(descriptor: int, modes: Mapping[int, int]) -> None:
    """Set the terminal at ``descriptor`` to ``modes``; unknown opcodes and values out of range are ignored."""
    attributes = termios.tcgetattr(descriptor)
    for opcode, name in _CHARACTERS.items():
        index = getattr(termios, name, None)
        value = modes.get(opcode)
        if index is not None and value is not None and 0 <= value <= 255:
            attributes[6][index] = bytes([0 if value == _NO_CHARACTER else value])
    for field, flags in _FLAGS:
        for opcode, name in flags.items():
            bit = _flag(name)
            if bit is None or opcode not in modes:
                continue
            attributes[field] = attributes[field] | bit if modes[opcode] else attributes[field] & ~bit
    with contextlib.suppress(termios.error):
        termios.tcsetattr(descriptor, termios.TCSANOW, attributes)
