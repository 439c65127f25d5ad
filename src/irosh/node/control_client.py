"""The client's end of the control socket, without an event loop: what a command needs to attach, and start fast."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.node.control_wire import (
    CONTROL_VERSION,
    FrameParser,
    Kind,
    pack,
    pack_message,
    parse_message,
)

_RECEIVE = 256 * 1024
QUESTIONS = frozenset({"factor", "factor-refused"})
"""Events that ask for something, and those that belong to them."""


class ControlClient:
    """One operation on a running node. Context manager; closing ends the operation."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.socket.connect(str(path))
        except OSError as error:
            self.socket.close()
            raise IroshError(
                ErrorCode.NOT_RUNNING, f"no node answers at {path}: {error.strerror}", "start one with `irosh host`"
            ) from None
        self._parser = FrameParser()
        self.answers: Callable[[dict[str, Any]], dict[str, Any] | None] | None = None
        """Answers what the node asks the person at the command; None for an event that only tells something."""

        self.questions: Callable[[dict[str, Any]], bool] | None = None
        """Answers what else it asks, by a message ``reply``; False for an event that is no question."""

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave; the node cancels what was under way."""
        self.socket.close()

    def request(self, op: str, arguments: Mapping[str, Any]) -> None:
        """Ask for operation ``op``."""
        answers = {} if self.answers is None else {"answers": True}
        self.send_frame(pack_message({"op": op, "version": CONTROL_VERSION, **answers, **arguments}))

    def asked(self, message: Mapping[str, Any]) -> bool:
        """Answer ``message`` if it is a question of the node; False if it is something else."""
        if self.questions is not None and self.questions(dict(message)):
            return True
        if self.answers is None or message.get("event") not in QUESTIONS:
            return False
        if (answer := self.answers(dict(message))) is not None:
            self.message({"answer": answer})
        return True

    def send(self, kind: Kind, payload: bytes) -> None:
        """Send one frame of bytes."""
        self.send_frame(pack(kind, payload))

    def message(self, fields: Mapping[str, Any]) -> None:
        """Send one message."""
        self.send_frame(pack_message(dict(fields)))

    def send_frame(self, frame: bytes) -> None:
        """Send packed bytes. ``IroshError`` (connection-lost) when the node has gone."""
        try:
            self.socket.sendall(frame)
        except OSError:
            raise _node_gone() from None

    def hand_over(self, fields: Mapping[str, Any], descriptor: int) -> None:
        """Send one message with a copy of a file descriptor. ``IroshError`` as :meth:`send_frame`."""
        frame = pack_message(dict(fields))
        try:
            sent = socket.send_fds(self.socket, [frame], [descriptor])
        except OSError:
            raise _node_gone() from None
        self.send_frame(frame[sent:])

    @property
    def node_pid(self) -> int:
        """The process that serves the socket (Linux); 0 for one that is out of sight, as in another container."""
        credentials = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[0])

    def receive(self) -> list[tuple[Kind, bytes]]:
        """The next frames, at least one. ``IroshError`` (connection-lost) when the node has gone."""
        while True:
            try:
                data = self.socket.recv(_RECEIVE)
            except OSError:
                raise _node_gone() from None
            if not data:
                raise _node_gone()
            if frames := self._parser.feed(data):
                return frames

    def messages(self, wait: Callable[[], object] | None = None) -> Iterator[dict[str, Any]]:
        """The events, and last the final answer. Raises the ``IroshError`` of a bad answer.

        ``wait`` is called before each read, and may do something else until there is something to read.
        """
        while True:
            if wait is not None:
                wait()
            for kind, payload in self.receive():
                if kind is not Kind.MESSAGE:
                    continue
                message = parse_message(payload)
                if "ok" in message:
                    yield checked(message)
                    return
                if not self.asked(message):
                    yield message

    def call(self, op: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Ask and return the final answer, without ``ok``."""
        self.request(op, arguments)
        answer: dict[str, Any] = {}
        for message in self.messages():
            answer = message
        return {name: value for name, value in answer.items() if name != "ok"}

    def open_stream(
        self,
        op: str,
        arguments: Mapping[str, Any],
        on_event: Callable[[dict[str, Any]], object],
        wait: Callable[[], object],
    ) -> socket.socket:
        """Ask for an operation that carries a stream; returns the socket that its bytes go by.

        :meth:`finish` tells how the stream has ended. ``on_event`` gets what comes before; ``wait`` as in
        :meth:`messages`.
        """
        self.request(op, arguments)
        for message in self.messages(wait):
            if message.get("event") == "opened":
                break
            on_event(message)
        ours, theirs = socket.socketpair()
        with theirs:
            self.hand_over({"socket": True}, theirs.fileno())
        return ours

    def finish(self) -> None:
        """Wait for the final answer. Raises the ``IroshError`` of a bad one."""
        for _ in self.messages():
            pass


def checked(answer: dict[str, Any]) -> dict[str, Any]:
    """The final ``answer`` if it is a good one; else raises its ``IroshError``."""
    if answer.get("ok") is not True:
        raise IroshError.from_dict(answer.get("error"))
    return answer


def attach(path: Path) -> ControlClient | None:
    """A client of the node that serves ``path``; None when none does."""
    with contextlib.suppress(IroshError):
        return ControlClient(path)
    return None


def _node_gone() -> IroshError:
    return IroshError(ErrorCode.CONNECTION_LOST, "the node has stopped")
