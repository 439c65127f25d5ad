"""Offers and answers of the manual modes on this end: shown, pasted on standard input, or exchanged by files."""

from __future__ import annotations

import os
import re
import select
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.faces.cli.output import Output, style
from irosh.node.control_client import ControlClient

MAX_PASTE = 64 * 1024
POLL = 0.2  # seconds between looks at a file that another program will write
_END = re.compile(rb"-----\s*END IROSH (?:OFFER|ANSWER)\s*-----[^\n]*\n?")


class Blocks:
    """What the events ``block``, ``paste``, ``paste-over`` and ``block-refused`` of an operation ask for.

    ``files``: by kind, where a block is written to or read from. Without one it is shown, or read from standard input
    unless that is in use for something else (``stdin`` False).
    """

    def __init__(self, output: Output, files: dict[str, Path | None], *, stdin: bool, stdout: bool) -> None:
        self._output = output
        self._files = files
        self._stdin = stdin
        self._stdout = stdout
        self._wanted: str | None = None
        self._typed = bytearray()
        self._last: dict[str, str] = {}

    @property
    def wants_stdin(self) -> bool:
        """Whether what comes on standard input belongs to a block."""
        return self._wanted is not None and self._file(self._wanted) is None

    @property
    def polls(self) -> bool:
        """Whether a file is waited for: call :meth:`from_file` now and then."""
        return self._wanted is not None and self._file(self._wanted) is not None

    def handle(self, message: dict[str, Any]) -> bool:
        """Act on an event; False if it is about something else. ``IroshError`` when a block cannot be had."""
        match message.get("event"):
            case "block":
                self.show(str(message["kind"]), str(message["block"]))
            case "paste":
                self.want(str(message["kind"]))
            case "paste-over":
                self._wanted = None
            case "block-refused":
                self.refused(IroshError.from_dict(message["error"]))
            case _:
                return False
        return True

    def show(self, kind: str, block: str) -> None:
        """Our own block, for the peer."""
        if (path := self._file(kind)) is not None:
            _write(path, block)
            self._output.event("block", {"kind": kind, "file": str(path)}, f"irosh: the {kind} is in {path}")
            return
        if self._output.as_json:
            self._output.event("block", {"kind": kind, "block": block})
            return
        print(f"irosh: take this {kind} to the other machine:", file=sys.stderr, flush=True)  # noqa: T201
        print(f"\n{block.rstrip()}\n", file=sys.stdout if self._stdout else sys.stderr, flush=True)

    def want(self, kind: str) -> None:
        """The peer's block is waited for from now on."""
        path = self._file(kind)
        if path is None and not self._stdin:
            raise IroshError(
                ErrorCode.USAGE,
                f"standard input is in use, so the {kind} cannot be pasted",
                "use --offer-file and --answer-file",
            )
        self._wanted = kind
        where = f"waiting for the {kind} in {path}" if path is not None else f"paste the other machine's {kind} here"
        fields = {"kind": kind, **({} if path is None else {"file": str(path)})}
        self._output.event("paste", fields, style(f"irosh: {where}", "bold", sys.stderr))

    def refused(self, error: IroshError) -> None:
        """A block was no good; another one will be asked for."""
        self._output.event("block-refused", {"error": error.to_dict()}, f"irosh: {error}")

    def typed(self, data: bytes) -> tuple[str | None, bytes]:
        """Take bytes of standard input: the block once it is complete, and what came behind it."""
        self._typed += data
        end = _END.search(self._typed)
        if end is None:
            if len(self._typed) > MAX_PASTE:
                self._typed.clear()
                self.refused(IroshError(ErrorCode.USAGE, "that is too long to be a block", "paste the block alone"))
            return None, b""
        block, rest = bytes(self._typed[: end.end()]), bytes(self._typed[end.end() :])
        self._typed.clear()
        self._wanted = None
        return block.decode(errors="replace"), rest

    def from_file(self) -> str | None:
        """The block in the file that is waited for, once it is there, complete and another than before."""
        kind = self._wanted
        path = self._file(kind) if kind is not None else None
        if kind is None or path is None:
            return None
        text = _read(path)
        if text is None or not _END.search(text.encode()) or self._last.get(kind) == text:
            return None
        self._last[kind] = text
        self._wanted = None
        return text

    def wait(self, client: ControlClient) -> bytes:
        """Return once the node has something to say, after answering what it asked for meanwhile.

        What came on standard input behind a pasted block is returned; it belongs to the session.
        """
        rest = b""
        while True:
            reading: list[Any] = [client.socket, *([0] if self.wants_stdin else [])]
            readable, _, _ = select.select(reading, [], [], POLL if self.polls else None)
            if 0 in readable:
                block, behind = self._read_stdin()
                rest += behind
            else:
                block = self.from_file()
            if block is not None:
                client.message({"paste": block})
            if client.socket in readable:
                return rest

    def _read_stdin(self) -> tuple[str | None, bytes]:
        data = os.read(0, MAX_PASTE)
        if not data:
            raise IroshError(
                ErrorCode.USAGE,
                f"standard input ended before the {self._wanted} came",
                "paste the whole block, with its BEGIN and END lines, or use --offer-file and --answer-file",
            )
        return self.typed(data)

    def _file(self, kind: str) -> Path | None:
        return self._files.get(kind)


def _write(path: Path, block: str) -> None:
    """At once or not at all, so that who waits for it never sees half of it. An offer holds an invite: mode 0600."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(block.rstrip() + "\n")
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise IroshError(
            ErrorCode.USAGE, f"cannot write {path}: {error.strerror}", "choose another --offer-file or --answer-file"
        ) from None


def _read(path: Path) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise IroshError(ErrorCode.USAGE, f"{path} is not a regular file")
            return file.read(MAX_PASTE).decode(errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IroshError(ErrorCode.USAGE, f"cannot read {path}: {error.strerror}") from None
