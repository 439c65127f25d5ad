"""Escapes on the keyboard of a session, by the rules of OpenSSH: ``~.`` and the like after a newline. Pure, no I/O.

The rules are those of ``process_escapes`` in OpenSSH's clientloop.c. The escape character counts at the beginning and
right after CR or LF. Behind it a known key is an escape, and the line still counts as just begun; the escape
character itself is sent once; any other key is sent with the escape character before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.wording import quoted

DEFAULT_ESCAPE = ord("~")
_NEWLINES = b"\r\n"


class Escape(Enum):
    """What can be asked for, by the key behind the escape character."""

    TERMINATE = ord(".")
    BREAK = ord("B")
    COMMAND_LINE = ord("C")
    REKEY = ord("R")
    QUIETER = ord("V")
    LOUDER = ord("v")
    SUSPEND = ord("Z") & 31
    CONNECTIONS = ord("#")
    BACKGROUND = ord("&")
    HELP = ord("?")
    DETACH = ord("d")  # not of ssh: only where a session can be detached from


_BY_KEY = {escape.value: escape for escape in Escape}

# In the order of ssh's own help, most of it in the same words.
_HELP = (
    ((Escape.TERMINATE,), "terminate connection (and any multiplexed sessions)"),
    ((Escape.BREAK,), "send a BREAK to the remote system"),
    ((Escape.COMMAND_LINE,), "open a command line"),
    ((Escape.REKEY,), "request rekey"),
    ((Escape.QUIETER, Escape.LOUDER), "decrease/increase verbosity"),
    ((Escape.SUSPEND,), "suspend irosh"),
    ((Escape.CONNECTIONS,), "list forwarded connections"),
    ((Escape.BACKGROUND,), "background irosh (when waiting for connections to terminate)"),
    ((Escape.HELP,), "this message"),
    ((Escape.DETACH,), "detach from the session, which stays"),
)


@dataclass(frozen=True)
class Typed:
    """What became of keys: bytes to send, then maybe an escape, then keys that were not looked at yet."""

    send: bytes
    escape: Escape | None
    rest: bytes


class EscapeFilter:
    """Finds the escapes in what is typed. ``character`` None: there are none, and all passes through."""

    def __init__(self, character: int | None = DEFAULT_ESCAPE) -> None:
        self.character = character
        self.may_detach = False
        """Whether :attr:`Escape.DETACH` is one; otherwise its key is as any other, as with ssh."""
        self._line_begins = True
        self._pending = False

    def feed(self, keys: bytes) -> Typed:
        """Take ``keys`` up to the first escape in them; feed the rest again once it has been acted upon."""
        if self.character is None:
            return Typed(keys, None, b"")
        send = bytearray()
        for position, key in enumerate(keys):
            if self._pending:
                self._pending = False
                escape = _BY_KEY.get(key)
                if escape is not None and (self.may_detach or escape is not Escape.DETACH):
                    return Typed(bytes(send), escape, keys[position + 1 :])
                if key != self.character:
                    send.append(self.character)
            elif self._line_begins and key == self.character:
                self._pending = True
                continue
            self._line_begins = key in _NEWLINES
            send.append(key)
        return Typed(bytes(send), None, b"")


def parse_escape_character(text: str) -> int | None:
    """The value of ``-e``: one character, ``^`` and a letter, or ``none``. ``IroshError`` (usage)."""
    spelled = text.encode(errors="surrogateescape")
    if spelled == b"none":
        return None
    if len(spelled) == 1:
        return spelled[0]
    if len(spelled) == 2 and spelled.startswith(b"^") and 64 <= spelled[1] < 128:
        return spelled[1] & 31
    raise IroshError(
        ErrorCode.USAGE, f"bad escape character {quoted(text)}", "give one ASCII character, ^ and a letter, or none"
    )


def shown_key(key: int) -> str:
    """A key as people write it: ``~``, ``^Z``."""
    if key < 32 or key == 127:
        return f"^{chr(key ^ 64)}"
    return chr(key) if key < 127 else f"\\x{key:02x}"


def shown_escape(character: int, escape: Escape) -> str:
    """An escape as it is typed, such as ``~^Z``."""
    return shown_key(character) + shown_key(escape.value)


def help_lines(character: int, unavailable: Mapping[Escape, str]) -> list[str]:
    """What ``~?`` prints; ``unavailable`` has why an escape cannot be used now."""
    prefix = shown_key(character)
    lines = ["Supported escape sequences:"]
    for escapes, text in _HELP:
        keys = "/".join(shown_key(escape.value) for escape in escapes)
        reason = unavailable.get(escapes[0])
        if reason and escapes[0] is Escape.DETACH:
            continue
        lines.append(f" {prefix}{keys:<3} - {text}{f' (not available: {reason})' if reason else ''}")
    lines.append(f" {prefix}{prefix:<3} - send the escape character by typing it twice")
    lines.append("(Note that escapes are only recognized immediately after newline.)")
    return lines
