"""Carries a session between the standard streams and the node, by the control socket. No event loop."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.faces.cli.blocks import POLL, Blocks
from irosh.faces.cli.link_notices import LinkNotices, tell_connected
from irosh.faces.cli.output import Output
from irosh.faces.cli.questions import Questions
from irosh.faces.cli.screen import Screen
from irosh.faces.cli.session_escapes import SessionEscapes
from irosh.faces.cli.terminal import LocalTerminal
from irosh.faces.cli.writing import telling_unwritten, write_all
from irosh.node.control_client import ControlClient, checked
from irosh.node.control_wire import FrameParser, Kind, pack, pack_message, parse_message

if TYPE_CHECKING:
    from irosh.faces.cli.prompt.console import Console
    from irosh.faces.cli.prompt.context import PromptContext
    from irosh.faces.cli.prompt.held import HeldOutput

CHUNK = 64 * 1024
RECEIVE = 256 * 1024
LEAVE_GRACE = 5.0  # seconds for a shell to end by itself once its user has left it to the background
MAX_TYPED = 1024 * 1024  # bytes typed or pasted that may wait; what is typed behind them, such as `~.`, is still seen
_PASSED_SIGNALS = {signal.SIGINT: "INT", signal.SIGTERM: "TERM", signal.SIGHUP: "HUP", signal.SIGQUIT: "QUIT"}


@dataclass(frozen=True)
class SessionEnd:
    """How a session ended: an exit ``status``, or the name of a ``signal``. ``answer``: all the node says of it."""

    status: int | None
    signal: str | None
    answer: Mapping[str, Any]


def carry_session(
    client: ControlClient, output: Output, terminal: LocalTerminal | None, blocks: Blocks, escapes: SessionEscapes
) -> SessionEnd:
    """Carry the requested session to its end. ``IroshError`` when it could not begin, or was lost."""
    parser = FrameParser()
    connected, early, typed = _until_connected(client, parser, output, blocks)
    with contextlib.ExitStack() as stack:
        if terminal is not None:
            stack.enter_context(terminal.raw())
        carrier = stack.enter_context(_Carrier(client, parser, output, terminal, blocks, escapes))
        escapes.begin(carrier, connected)
        if terminal is not None:
            terminal.begin(connected)
        return carrier.run(early, typed)


def _until_connected(
    client: ControlClient, parser: FrameParser, output: Output, blocks: Blocks
) -> tuple[dict[str, Any], list[tuple[Kind, bytes]], bytes]:
    """Wait for the event ``connected``; returns it, the frames that came with it, and what was typed ahead."""
    typed = b""
    while True:
        typed += blocks.wait(client)
        data = client.socket.recv(CHUNK)
        if not data:
            raise IroshError(ErrorCode.CONNECTION_LOST, "the node has stopped")
        frames = parser.feed(data)
        for position, (kind, payload) in enumerate(frames):
            if kind is not Kind.MESSAGE:
                continue
            message = parse_message(payload)
            if "ok" in message:
                checked(message)
            elif client.asked(message):
                pass
            elif message.get("event") == "connected":
                tell_connected(output, message)
                return message, frames[position + 1 :], typed
            else:
                blocks.handle(message)


class _Carrier:
    """Moves bytes between the standard streams and the control socket; either may be slow, little is buffered."""

    def __init__(
        self,
        client: ControlClient,
        parser: FrameParser,
        output: Output,
        terminal: LocalTerminal | None,
        blocks: Blocks,
        escapes: SessionEscapes,
    ) -> None:
        self._notices = LinkNotices(output, terminal is not None)
        self._questions = Questions(output, self.message)
        self._blocks = blocks
        self._escapes = escapes
        self._socket = client.socket
        self._parser = parser
        self._output = output
        self._terminal = terminal
        self._outgoing = bytearray()
        self._incoming = memoryview(bytearray(RECEIVE))
        self._reading_stdin = True
        self._leave_at: float | None = None  # by the monotonic clock
        self._wake, self._wake_write = socket.socketpair()
        self._signals: list[int] = []
        self._writing = False
        self._previous: dict[int, Any] = {}
        self._end: SessionEnd | None = None
        self._held: HeldOutput | None = None
        self._console: Console | None = None

    def __enter__(self) -> _Carrier:
        self._wake_write.setblocking(False)
        for number in (signal.SIGWINCH, signal.SIGCONT, *_PASSED_SIGNALS):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup(1) has it
                self._previous[number] = signal.signal(number, self._caught)
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._wake.close()
        self._wake_write.close()
        self._socket.setblocking(True)

    def run(self, frames: list[tuple[Kind, bytes]], typed: bytes) -> SessionEnd:
        """Until the final answer; ``typed`` is the first input."""
        self._socket.setblocking(False)
        self._show(frames)
        if typed:
            self._escapes.typed(typed)
        while self._end is None or self._stalled is not None:
            self._step(0 if self._reading_stdin and not self._blocked() else None)
            if self._leave_at is not None and self._end is None and time.monotonic() > self._leave_at:
                return SessionEnd(0, None, {})
        return self._end

    def detach(self, *, at_once: bool) -> None:
        """See :class:`irosh.faces.cli.session_escapes.Session`."""
        self._reading_stdin = False
        self._terminal = None
        if at_once:  # nobody can end what runs there
            self._leave_at = time.monotonic() + LEAVE_GRACE

    def lend(self, console: Console, context: PromptContext, typed: bytes) -> bytes:
        """Leave keyboard and screen to the prompt until the user leaves it; ``typed`` is its first input.

        The session goes on meanwhile; what it prints waits, or is shown above the prompt when it is much. Returns what
        was typed behind the prompt's last line.
        """
        from irosh.faces.cli.prompt.held import HeldOutput

        assert self._terminal is not None
        held = self._held = HeldOutput(self._put)
        try:
            with self._terminal.lent():
                self._console = console
                ended = console.begin(context, typed)
                try:
                    while self._end is None and ended not in self._step(ended):
                        if held.is_full():
                            console.make_room(held.write_lines)
                finally:
                    behind = console.leave()
        finally:
            self._held = self._console = None
            held.write_out()
        return behind

    def _step(self, keys: Any) -> list[Any]:
        """Wait for something and act on it; ``keys`` is read too, or None. Returns what can be read."""
        hangup, stalled = self._escapes.hangup, self._stalled
        # What the terminal has not taken is written before there is more of it.
        frames = self._socket if stalled is None else None
        reading: list[Any] = [each for each in (frames, self._wake, keys, hangup) if each is not None]
        writing: list[Any] = [each for each in (self._socket if self._outgoing else None, stalled) if each is not None]
        # While the prompt has the screen nobody else writes to it.
        terminal = self._terminal if self._console is None else None
        pause = None if terminal is None else terminal.pause
        if self._leave_at is not None:
            pause = max(0.0, self._leave_at - time.monotonic()) + POLL
        readable, writable, _ = select.select(reading, writing, [], POLL if self._blocks.polls else pause)
        if stalled is not None:
            stalled.flush()
        elif terminal is not None:
            terminal.idle()
        if self._wake in readable:
            self._wake.recv(1024)
            self._pass_signals()
        if hangup is not None and hangup in readable:
            raise KeyboardInterrupt
        if self._socket in readable:
            self._receive()
        if 0 in readable:
            self._read_stdin()
        if (block := self._blocks.from_file()) is not None:
            self.message({"paste": block})
        if self._outgoing and (self._socket in writable or not self._blocked()):
            self._flush()
        return readable

    def send(self, keys: bytes) -> None:
        """Queue input for the remote side."""
        self._outgoing += pack(Kind.STDIN, keys)

    def message(self, fields: dict[str, Any]) -> None:
        """Queue a message to the node."""
        self._outgoing += pack_message(fields)

    def _blocked(self) -> bool:
        return len(self._outgoing) > (MAX_TYPED if self._escapes.character is not None else CHUNK)

    def _read_stdin(self) -> None:
        try:
            data = os.read(0, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data and self._blocks.wants_stdin:
            block, data = self._blocks.typed(data.replace(b"\r", b"\n"))
            if block is not None:
                self.message({"paste": block})
            if not data:
                return
        if data:
            self._escapes.typed(data)
        else:
            self.send(b"")
            self._reading_stdin = False

    def _flush(self) -> None:
        try:
            sent = self._socket.send(self._outgoing)
        except BlockingIOError:
            return
        except OSError:
            # What the node still said, such as why it ended, is read first.
            self._outgoing.clear()
            self._reading_stdin = False
            return
        del self._outgoing[:sent]

    def _receive(self) -> None:
        try:
            size = self._socket.recv_into(self._incoming)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        if not size:
            raise IroshError(ErrorCode.CONNECTION_LOST, "the node has stopped")
        self._show(self._parser.feed(self._incoming[:size]))

    def _show(self, frames: list[tuple[Kind, bytes]]) -> None:
        for kind, payload in frames:
            if kind is Kind.MESSAGE:
                message = parse_message(payload)
                if "ok" in message:
                    self._notices.clear()
                    answer = checked(message)
                    self._end = SessionEnd(answer.get("exit_status"), answer.get("exit_signal"), answer)
                elif not self._escapes.handle(message) and not self._handle_block(message):
                    self._notices.show(message)
            elif self._output.as_json:
                self._output.event(kind.name.lower(), _as_text(payload))
            else:
                self._write(1 if kind is Kind.STDOUT else 2, payload)

    def _write(self, descriptor: int, data: bytes) -> None:
        if self._terminal is not None and os.isatty(descriptor):
            data = self._terminal.passed(data)
        if self._held is not None and os.isatty(descriptor):
            self._held.add(descriptor, data)
        else:
            self._put(descriptor, data)

    def _put(self, descriptor: int, data: bytes) -> None:
        self._writing = True
        try:
            with telling_unwritten():
                # The prompt waits for the terminal, and so does what comes above it.
                if self._terminal is None or self._console is not None:
                    write_all(descriptor, data)
                else:
                    self._terminal.write(descriptor, data)
        finally:
            self._writing = False

    @property
    def _stalled(self) -> Screen | None:
        return None if self._terminal is None else self._terminal.stalled

    def _handle_block(self, message: dict[str, Any]) -> bool:
        if self._terminal is None:
            return self._questions.handle(message) or self._blocks.handle(message)
        with self._terminal.cooked():  # what is told about blocks, and asked, are lines of text
            return self._questions.handle(message) or self._blocks.handle(message)

    def _caught(self, number: int, _frame: FrameType | None) -> None:
        if self._writing and self._ends(number):
            raise KeyboardInterrupt  # who reads what is written may never go on, as a terminal that is suspended
        self._signals.append(number)

    def _pass_signals(self) -> None:
        while self._signals:
            number = self._signals.pop(0)
            if number in (signal.SIGWINCH, signal.SIGCONT):
                if self._terminal is not None:
                    if number == signal.SIGCONT:
                        self._terminal.continued()
                    self._terminal.resized()
                    self.message({"resize": self._terminal.size()})
            elif self._console is not None and number == signal.SIGINT:
                self._console.interrupt()
            elif self._ends(number):
                raise KeyboardInterrupt
            else:
                self.message({"signal": _PASSED_SIGNALS[signal.Signals(number)]})

    def _ends(self, number: int) -> bool:
        """Whether a signal is for this process, so that the command ends with it.

        Without a terminal on the other side that goes for Ctrl-C too, as with ssh.
        """
        return number in (signal.SIGTERM, signal.SIGHUP) or (self._terminal is None and number == signal.SIGINT)


def _as_text(payload: bytes) -> dict[str, str]:
    try:
        return {"data": payload.decode()}
    except UnicodeDecodeError:
        import base64

        return {"base64": base64.b64encode(payload).decode()}
