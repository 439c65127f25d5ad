"""Blocks of text that survive being pasted: base64 between BEGIN and END lines, in the manner of PEM (RFC 7468). Pure.

A block comes back out of a mail reply, a chat or a terminal: quoted with ``>``, indented, wrapped at another width,
with CRLF, with invisible characters, with any text around it. What was altered otherwise is an error that says where.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.wording import quoted

MAX_TEXT = 256 * 1024  # characters; somebody may paste all that a terminal remembers
LINE = 64  # characters

_COPY_AGAIN = "copy the whole block again, from its BEGIN line to its END line"

# What mail and chat programs put before a line they quote, and into text where nobody sees it.
_QUOTING = re.compile(r"^[\s>|]+", re.MULTILINE)
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"), "") | {ord("\r"): "\n"}
# "--" may have become a dash, and the line may have been wrapped.
_DASHES = "[-\u2010-\u2015\u2212]+"
_MARKER = re.compile(rf"{_DASHES}\s*(BEGIN|END)\s+IROSH\s+([A-Z]{{1,16}})\s*{_DASHES}", re.IGNORECASE)
_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


@dataclass(frozen=True)
class Block:
    """One block of a text: its ``label`` in capitals, and what stands between its lines, not yet decoded."""

    label: str
    text: str = field(repr=False)
    complete: bool
    """Whether its END line was there."""

    def data(self) -> bytes:
        """The bytes of the block. ``IroshError`` (invalid-block) if it was cut or altered."""
        if not self.complete:
            raise invalid_block(f"the {self.label} block is cut short: its END line is missing", _COPY_AGAIN)
        text = self.text.rstrip("=")
        bad = next((character for character in text if character not in _ALPHABET), None)
        if bad is not None:
            raise invalid_block(f"the {self.label} block is garbled: {quoted(bad)} cannot be in it", _COPY_AGAIN)
        padded = text + "=" * (-len(text) % 4)
        try:
            data = base64.b64decode(padded, validate=True)
        except ValueError:
            data = b""
        if not data or base64.b64encode(data).decode() != padded:
            raise invalid_block(f"the {self.label} block is garbled: characters are missing or wrong", _COPY_AGAIN)
        return data


def invalid_block(message: str, hint: str = _COPY_AGAIN) -> IroshError:
    """The failure of a text that is no usable block."""
    return IroshError(ErrorCode.INVALID_BLOCK, message, hint)


def armor(label: str, data: bytes) -> str:
    """The block with ``data``: lines without a newline at the end of the last."""
    text = base64.b64encode(data).decode()
    lines = [text[start : start + LINE] for start in range(0, len(text), LINE)]
    return "\n".join([f"-----BEGIN IROSH {label}-----", *lines, f"-----END IROSH {label}-----"])


def is_complete(text: str) -> bool:
    """Whether ``text``, as read so far, holds the END line of a block: a reader of lines may stop."""
    return any(marker[1].upper() == "END" for marker in _MARKER.finditer(_cleaned(text[-MAX_TEXT:])))


def find_blocks(text: str) -> list[Block]:
    """The blocks in ``text``, in order. ``IroshError`` (invalid-block) if there is none, or the text is too long."""
    if len(text) > MAX_TEXT:
        raise invalid_block(
            f"the text has {len(text)} characters, at most {MAX_TEXT} are read", "paste the block alone"
        )
    if not text.strip():
        raise invalid_block("nothing was pasted")
    blocks = list(_blocks(_cleaned(text)))
    if not blocks:
        raise invalid_block("this is not a block of irosh: there is no -----BEGIN IROSH ...----- line in it")
    return blocks


def _cleaned(text: str) -> str:
    return _QUOTING.sub("", text.translate(_INVISIBLE))


def _blocks(text: str) -> Iterator[Block]:
    label, start = "", 0
    for marker in _MARKER.finditer(text):
        if marker[1].upper() == "BEGIN":
            if label:
                yield Block(label, "", complete=False)
            label, start = marker[2].upper(), marker.end()
        elif label:
            if marker[2].upper() == label:
                yield Block(label, "".join(text[start : marker.start()].split()), complete=True)
            else:
                yield Block(label, "", complete=False)
            label = ""
        elif not start:
            raise invalid_block(f"the {marker[2].upper()} block is cut short: its BEGIN line is missing")
    if label:
        yield Block(label, "", complete=False)
