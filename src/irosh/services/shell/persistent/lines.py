"""What a participant is at the end of: a stream of the session service, or the control socket."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

from irosh.core.errors import ErrorCode, IroshError
from irosh.node.control import Channel
from irosh.node.control_wire import Kind, parse_message
from irosh.services.shell.persistent.codec import (
    Answer,
    End,
    Frame,
    FrameKind,
    FrameReader,
    Manage,
    Notice,
    Size,
    Welcome,
    decode,
    encode,
    pack,
)
from irosh.services.shell.persistent.undo import Settings
from irosh.transport.interfaces import Stream


class Line(Protocol):
    """Frames to and fro."""

    async def send(self, frames: Sequence[Frame]) -> None:
        """Send all, waiting while the other end is slow."""

    async def receive(self) -> list[Frame]:
        """The next frames; none when the other end has left."""


class StreamLine:
    """Over a stream. There is no deadline but the session's own: a terminal may be silent for as long as it likes."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._reader = FrameReader()
        stream.pace()

    async def send(self, frames: Sequence[Frame]) -> None:
        await self._stream.write(b"".join(pack(kind, payload) for kind, payload in frames))

    async def receive(self) -> list[Frame]:
        while data := await self._stream.read():
            if frames := self._reader.feed(data):
                return frames
        return []


class ChannelLine:
    """Over the control socket, to a command that carries a terminal; in the terms of operation ``connect``.

    ``terminal``: whether it carries one. ``answered``: whether the final answer has been sent. ``may_go_on``: the
    command may leave its terminal and wait in the background for the session to end.
    """

    def __init__(self, channel: Channel, *, terminal: bool, may_go_on: bool = False) -> None:
        self.in_background = False
        self._may_go_on = may_go_on
        self._goes_on = False
        self._channel = channel
        self._terminal = terminal
        self._settings = Settings()
        self.answered = False

    async def send(self, frames: Sequence[Frame]) -> None:
        for kind, payload in frames:
            if kind is FrameKind.OUTPUT:
                if self._terminal:
                    self._settings.feed(payload)
                await self._channel.send(Kind.STDOUT, payload)
            elif kind is FrameKind.WELCOME:
                await self._channel.event("session", **_fields(decode(payload, Welcome)))
            elif kind is FrameKind.NOTICE:
                notice = _fields(decode(payload, Notice))
                await self._channel.event(notice.pop("event"), **notice)
            elif kind is FrameKind.ANSWER:
                await self._channel.event("managed", **answer_fields(decode(payload, Answer)))
            elif kind is FrameKind.END:
                end = decode(payload, End)
                await self.leave(in_the_middle=bool(end.reason))
                self.in_background = self._goes_on and end.reason == "detached"
                if self.in_background:
                    await self._channel.event("backgrounded")
                else:
                    await self.finish(end)

    async def finish(self, end: End) -> None:
        """Tell how it ended."""
        self.answered = True
        await self._channel.answer(end_fields(end))

    async def leave(self, *, in_the_middle: bool) -> None:
        """Give the terminal back as a shell expects it; on a new line if the program goes on."""
        undo = self._settings.undo()
        if undo or in_the_middle:
            await self._channel.send(Kind.STDOUT, undo + (b"\r\n" if in_the_middle else b""))

    async def receive(self) -> list[Frame]:
        while True:
            kind, payload = await self._channel.receive()
            if kind is Kind.STDIN:
                if payload:  # the end of input is no end of the session: its program goes on
                    return [(FrameKind.INPUT, payload)]
            elif kind is Kind.MESSAGE:
                message = parse_message(payload)
                if message.get("detach"):
                    self._goes_on = self._may_go_on and bool(message.get("go_on"))
                if (frame := _request(message)) is not None:
                    return [frame]


def _request(message: dict[str, Any]) -> Frame | None:
    try:
        if size := message.get("resize"):
            return FrameKind.RESIZE, encode(Size(*(int(value) for value in size[:4])))
        if message.get("break"):
            return FrameKind.BREAK, b""
        if message.get("detach"):
            return FrameKind.DETACH, b""
        if asked := message.get("manage"):
            guest, name = asked.get("guest"), asked.get("name")
            return FrameKind.MANAGE, encode(Manage(str(asked["command"]), name, guest))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise IroshError(ErrorCode.PROTOCOL, f"malformed message: {error}") from None
    return None


def end_fields(end: End) -> dict[str, Any]:
    """As the answer of operation ``connect``, and besides what is only of sessions."""
    fields: dict[str, Any] = {"session": end.name}
    if end.reason:
        return fields | {"left": end.reason}
    if end.ended_at is not None:
        fields["ended_at"] = end.ended_at
    if end.signal is not None:
        return fields | {"exit_signal": end.signal}
    return fields | {"exit_status": end.status}


def answer_of(result: dict[str, Any] | IroshError) -> Answer:
    """The answer that carries ``result``."""
    if isinstance(result, IroshError):
        return Answer(error=result.to_dict())
    return Answer(json.dumps(result).encode())


def answer_fields(answer: Answer) -> dict[str, Any]:
    """``result``, or ``error``."""
    if answer.error is not None:
        return {"error": answer.error}
    return {"result": result_of(answer)}


def result_of(answer: Answer) -> dict[str, Any]:
    """What a command gave. Its ``IroshError`` when it failed."""
    if answer.error is not None:
        raise IroshError.from_dict(answer.error)
    try:
        result = json.loads(answer.result)
    except (ValueError, RecursionError):
        result = None
    if not isinstance(result, dict):
        raise IroshError(ErrorCode.PROTOCOL, "the peer sent a malformed answer")
    return result


def _fields(message: Welcome | Notice) -> dict[str, Any]:
    return {name: value for name in message.__struct_fields__ if (value := getattr(message, name)) is not None}
