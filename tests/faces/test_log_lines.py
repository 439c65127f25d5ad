"""What is logged: peers word parts of it, and it is read on terminals and line by line."""

from __future__ import annotations

import logging
import sys

from irosh.faces.cli.verbosity import LineFormatter

EVIL = "x\x1b]0;title\x07\x9b2J\r\nroot logged in\u202e"


def formatted(**fields: object) -> str:
    return LineFormatter("%(levelname)s %(message)s").format(logging.makeLogRecord({"levelname": "INFO", **fields}))


def test_a_message_is_one_printable_line() -> None:
    text = formatted(msg="%s: stream refused", args=(EVIL,))
    assert text.isprintable() and text.startswith("INFO x\\x1b]0;title")


def test_an_exception_is_several() -> None:
    try:
        raise ValueError(EVIL)
    except ValueError:
        text = formatted(msg="a fault", exc_info=sys.exc_info())
    first, *trace = text.split("\n")
    assert first == "INFO a fault" and trace[0].startswith("Traceback")
    assert all(line.isprintable() for line in trace)


def test_what_is_harmless_stays() -> None:
    assert formatted(msg="C:\\dir ünïcode") == "INFO C:\\dir ünïcode"
