"""What a program writes to its terminal, cut into text, control characters and sequences (ECMA-48). Pure, no I/O."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import NamedTuple

LONGEST = 8 * 1024  # characters of a sequence that may be incomplete; a longer one is dropped

_TOKEN = re.compile(
    r"""(?P<text>[^\x00-\x1f\x7f-\x9f]+)
    | \x1b\[ (?P<prefix>[<-?]?) (?P<parameters>[0-9:;]*) (?P<between>[ -/]*) (?P<final>[@-~])
    | \x1b\] (?P<command>[^\x07\x1b]*) (?:\x07|\x1b\\)
    | \x1b [PX^_] [^\x1b]* (?:\x1b(?!\\)[^\x1b]*)* \x1b\\
    | \x1b (?P<middle>[ -/]*) (?P<escape>[0-OQ-WYZ`-~\\])
    | (?P<control>[\x00-\x1a\x1c-\x1f])
    """,
    re.VERBOSE,
)
_STRING = re.compile(r"\x1b[\]PX^_]")
_INCOMPLETE = re.compile(
    r"\x1b (?: \[[0-?]*[ -/]* | \][^\x07\x1b]*\x1b? | [PX^_][^\x1b]*(?:\x1b(?!\\)[^\x1b]*)* | [ -/]* )? \Z", re.VERBOSE
)
_STRING_END = re.compile(r"\x07|\x1b\\")
_ALONE = re.compile(r"\x1b\[?[0-?]*[ -/]*|.", re.DOTALL)


class Text(NamedTuple):
    """Characters to show."""

    text: str


class Control(NamedTuple):
    """One control character."""

    character: str


class Escape(NamedTuple):
    """ESC, intermediate characters and a final one."""

    between: str
    final: str


class CSI(NamedTuple):
    """A control sequence. ``parameters``: -1 where one was left out; sub-parameters are kept behind their own."""

    prefix: str
    parameters: tuple[tuple[int, ...], ...]
    between: str
    final: str

    def first(self, default: int = 0) -> int:
        """The first parameter."""
        return self.at(0, default)

    def at(self, position: int, default: int = 0) -> int:
        """The parameter at ``position``, where 0 and left out mean ``default``."""
        if position < len(self.parameters) and self.parameters[position][0] > 0:
            return self.parameters[position][0]
        return default


class OSC(NamedTuple):
    """An operating system command, such as the title."""

    command: str


Token = Text | Control | Escape | CSI | OSC


class Tokenizer:
    """Cuts bytes, which may arrive split anywhere, into tokens. Strings for the terminal's own use are left out."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._kept = ""
        self._dropping = False

    def feed(self, data: bytes) -> Iterator[Token]:
        """The tokens that ``data`` completes."""
        text = self._kept + self._decoder.decode(data)
        self._kept = ""
        position = 0
        if self._dropping:
            found = _STRING_END.search(text)
            if found is None:
                self._kept = text[-1:] if text.endswith("\x1b") else ""
                return
            self._dropping = False
            position = found.end()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is not None:
                position = match.end()
                if (token := _token(match)) is not None:
                    yield token
            elif text[position] == "\x1b" and _INCOMPLETE.match(text, position):
                if len(text) - position <= LONGEST:
                    self._kept = text[position:]
                else:
                    self._dropping = _STRING.match(text, position) is not None
                return
            else:
                # Nothing that a terminal knows; what follows is read on its own.
                alone = _ALONE.match(text, position)
                assert alone is not None
                position = alone.end()


def _token(match: re.Match[str]) -> Token | None:
    kind = match.lastgroup
    if kind == "text":
        return Text(match["text"])
    if kind == "control":
        return Control(match["control"])
    if kind == "final":
        return CSI(match["prefix"], _parameters(match["parameters"]), match["between"], match["final"])
    if kind == "escape":
        return Escape(match["middle"], match["escape"])
    if kind == "command":
        return OSC(match["command"])
    return None


def _parameters(text: str) -> tuple[tuple[int, ...], ...]:
    if not text:
        return ()
    return tuple(tuple(_number(part) for part in field.split(":")) for field in text.split(";")[:32])


def _number(text: str) -> int:
    return min(int(text[:6]), 0xFFFF) if text else -1


# -- what of bytes that are passed over still counts

# Most sequences choose colours: where these are of no interest, ruling them out first is five times as fast.
_NO_COLOUR = rb"\x1b(?!\[[0-9;:]*m)"
NO_COLOUR = re.compile(_NO_COLOUR)
"""Any sequence but one that chooses colours."""

_LASTING = re.compile(
    _NO_COLOUR
    + rb"""(?:
        \[ (?P<prefix>[<-?]?) (?P<parameters>[0-9:;]*) (?P<between>[ !]?) (?P<final>[hlrqup])
      | (?P<title>\][02];[^\x07\x1b]{0,512}(?:\x07|\x1b\\))
      | (?P<escape>[()][0-9A-Z]|[=>c])
      | (?P<keys>\[>[0-9;]*m)
    )""",
    re.VERBOSE,
)
_RENDITION = re.compile(rb"\x1b\[[0-9:;]*m")
_RENDITIONS_SEEN = 4096  # bytes at the end in which colours are looked for
_KEPT_RENDITIONS = 8
_MODES_WITH_SCREEN = (b"47", b"1047", b"1049")


def lasting(data: bytes) -> bytes:
    """Those sequences in ``data`` that have an effect on what comes later: modes, colours, margins, title, charsets.

    Of each kind the last, in their order; so the result is short however long ``data`` is. The text is left out.
    """
    kept: dict[bytes, bytes] = {}
    if b"\x1b" in data:
        for match in _LASTING.finditer(data):
            _keep(kept, match)
    renditions = _RENDITION.findall(data, max(0, len(data) - _RENDITIONS_SEEN))[-_KEPT_RENDITIONS:]
    if (out := data.rfind(b"\x0e")) != (back := data.rfind(b"\x0f")):
        kept[b"shift"] = b"\x0e" if out > back else b"\x0f"
    return b"".join([*kept.values(), *renditions])


def _keep(kept: dict[bytes, bytes], match: re.Match[bytes]) -> None:
    whole = match[0]
    if match["final"] in (b"h", b"l"):
        for mode in match["parameters"].split(b";")[:8]:
            key = b"screen" if mode in _MODES_WITH_SCREEN else match["prefix"] + mode
            kept.pop(key, None)
            if len(kept) < 64:
                kept[key] = b"\x1b[" + match["prefix"] + mode + match["final"]
    elif whole == b"\x1bc":
        kept.clear()
        kept[b"reset"] = whole
    else:
        key = _key(match)
        kept.pop(key, None)
        kept[key] = whole


def _key(match: re.Match[bytes]) -> bytes:
    if match["title"]:
        return b"title"
    if match["escape"]:
        return b"keypad" if match["escape"] in b"=>" else match["escape"][:1]
    if match["keys"]:
        return b"keys"
    return bytes(match["prefix"] + match["between"] + match["final"])


QUERY = re.compile(
    _NO_COLOUR
    + rb"""(?:
        \[ (?: [>=]?[0-9;]*c | \??[0-9;]*n | >[0-9;]*q | \??[0-9;]*\$p | \?u | \?[0-9;]*S
                | (?:1[1-9]|2[01])(?:;[0-9]*)*t )
      | Z
      | \] [0-9;]* [^\x07\x1b;]* ;\? (?:\x07|\x1b\\)
      | P [+$]q [^\x1b\x07]* \x1b\\
      )""",
    re.VERBOSE,
)
"""What a terminal answers. Of several terminals on one program only one may."""

_CUT = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x1b\x07]*\x1b?|[ -/]*)\Z")


class WithoutQueries:
    """Takes queries out of output that arrives split anywhere."""

    def __init__(self) -> None:
        self._kept = b""

    def filter(self, data: bytes) -> bytes:
        """``data`` without them; an incomplete sequence at its end comes with the next."""
        if not self._kept and b"\x1b" not in data and b"\x05" not in data:
            return data
        data = QUERY.sub(b"", self._kept + data).replace(b"\x05", b"")
        self._kept = b""
        cut = _CUT.search(data, max(0, len(data) - LONGEST))
        if cut is not None:
            self._kept = data[cut.start() :]
            return data[: cut.start()]
        return data
