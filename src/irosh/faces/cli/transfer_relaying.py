"""Copying between two peers through this machine: frames go from one to the other, looked at and kept nowhere."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import replace

from irosh.core.errors import ErrorCode, IroshError
from irosh.faces.cli.options import Settings
from irosh.faces.cli.transferring import TransferOptions, check_asked_for, opened
from irosh.services.files.transfer.frames import (
    HOLE,
    Begin,
    Failure,
    Fatal,
    Kind,
    Order,
    Pack,
    Problem,
    Result,
    Same,
    Source,
    Sources,
    Totals,
    decode,
)
from irosh.services.files.transfer.observing import Observer, shown_name
from irosh.services.files.transfer.wire import FrameSocket, Pace

Account = tuple[str, str | None]
"""A peer, and whom to be there."""

_LAST_WORDS = 5.0
_FROM_RECEIVER = (Kind.ANSWERS, Kind.FAILURE, Kind.ARRIVED, Kind.RESULT, Kind.FATAL)


def relay(
    settings: Settings,
    source: Account,
    target: Account,
    paths: Sequence[str],
    destination: str,
    options: TransferOptions,
    progress: Observer,
) -> Result:
    """Copy ``paths`` on one peer to ``destination`` on another (or the same). As :func:`transferring.put`."""
    there, here = replace(options, user=source[1]), replace(options, user=target[1])
    with (
        opened(settings, source[0], there, writing=False) as sending,
        opened(settings, target[0], here, writing=True) as receiving,
    ):
        order = options.order([os.fsencode(path) for path in paths], receive=False)
        sender, receiver = FrameSocket(sending, receiving=Pace(options.limit)), FrameSocket(receiving)
        sender.send(Kind.ORDER, order)
        receiver.send(Kind.ORDER, options.order([os.fsencode(destination)], receive=True))
        return _Relay(order, sender, receiver, progress).run()


class _Relay:
    """The frames of one transfer, from its sender to its receiver and back."""

    def __init__(self, order: Order, sender: FrameSocket, receiver: FrameSocket, observer: Observer) -> None:
        self._order = order
        self._sender = sender
        self._receiver = receiver
        self._observer = observer
        self._sources: list[Source] = []
        self._result: Result | None = None
        self._error: IroshError | None = None
        self._returning = threading.Thread(target=self._carry_back, name="transfer answers", daemon=True)

    def run(self) -> Result:
        self._returning.start()
        try:
            while (frame := self._sender.receive()) is not None:
                kind, payload = frame
                self._look(kind, payload)
                self._receiver.send_bytes(kind, payload)
                if kind is Kind.FINISH:
                    break
            else:
                raise IroshError(
                    ErrorCode.CONNECTION_LOST, "the transfer was cut off", "--resume goes on where it ended"
                )
        except IroshError as error:
            if error.code is ErrorCode.CONNECTION_LOST:
                self._returning.join(_LAST_WORDS)  # the receiver may have said why
            raise self._error or error from None
        self._returning.join()
        if self._result is None:
            raise self._error or IroshError(ErrorCode.CONNECTION_LOST, "the transfer was cut off at its end")
        return self._result

    def _look(self, kind: Kind, payload: memoryview) -> None:
        if kind in _FROM_RECEIVER and kind is not Kind.FATAL:
            raise IroshError(ErrorCode.PROTOCOL, f"the sender of files sent a {kind.name} frame")
        if kind is Kind.FATAL:
            raise decode(payload, Fatal).error()
        if kind is Kind.SOURCES:
            self._sources = decode(payload, Sources).sources
            check_asked_for(self._order, self._sources)
        elif kind is Kind.DATA:
            self._observer.moved(len(payload))
        elif kind is Kind.HOLE and len(payload) == HOLE.size:
            self._observer.moved(HOLE.unpack(payload)[0])
        elif kind is Kind.PACK:
            files = decode(payload, Pack).files
            self._observer.moved(sum(len(file.data) for file in files), len(files))
        elif kind is Kind.BEGIN:
            begin = decode(payload, Begin)
            self._observer.file(shown_name(self._sources, begin.source, begin.parts))
            self._observer.moved(begin.offset)
        elif kind is Kind.END:
            self._observer.moved(0, 1)
        elif kind is Kind.SAME:
            self._observer.moved(decode(payload, Same).size, 1)
        elif kind is Kind.TOTALS:
            totals = decode(payload, Totals)
            self._observer.totals(totals.files, totals.size, complete=totals.complete)
        elif kind is Kind.PROBLEM:
            problem = decode(payload, Problem)
            name = shown_name(self._sources, problem.source, problem.parts)
            self._observer.problem(name, problem.message, harmless=problem.harmless)

    def _carry_back(self) -> None:
        try:
            while self._result is None and (frame := self._receiver.receive()) is not None:
                kind, payload = frame
                if kind is Kind.FATAL:
                    raise decode(payload, Fatal).error()
                if kind is Kind.RESULT:
                    self._result = decode(payload, Result)
                elif kind is Kind.FAILURE:
                    failure = decode(payload, Failure)
                    name = shown_name(self._sources, failure.source, failure.parts)
                    self._observer.problem(name, failure.message, harmless=False)
                self._sender.send_bytes(kind, payload)
        except IroshError as error:
            # Who has sent all may leave before the result comes.
            if self._result is None:
                self._error = error
                self._sender.end_sending()
