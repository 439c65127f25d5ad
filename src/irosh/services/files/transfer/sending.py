"""The side of a transfer that has the files: reads, hashes and sends them, many small ones together."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections import deque
from queue import Empty, SimpleQueue

from blake3 import blake3

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.files.transfer.access import Access
from irosh.services.files.transfer.frames import (
    BLOCK,
    HOLE,
    PACK_BYTES,
    PACK_FILES,
    SMALL_FILE,
    Abort,
    Answer,
    Answers,
    Begin,
    End,
    Failure,
    Fatal,
    Folder,
    Kind,
    Link,
    Offer,
    Offers,
    Order,
    Pack,
    Problem,
    Result,
    Same,
    SmallFile,
    Source,
    Sources,
    Totals,
    decode,
    encode,
    time_of,
)
from irosh.services.files.transfer.hashing import hash_file, hash_zeros
from irosh.services.files.transfer.observing import Observer, shown_name
from irosh.services.files.transfer.scanning import Found, Scanner, Start, What, reason
from irosh.services.files.transfer.wire import FrameSocket

_OFFERED = 4096  # files that may wait for an answer
_TOTALS_EVERY = 0.25
_LAST_WORDS = 5.0
_PERMISSIONS = 0o7777


class Sender:
    """Sends what ``starts`` name, as ``order`` says."""

    def __init__(
        self, wire: FrameSocket, access: Access, order: Order, starts: list[Start], observer: Observer
    ) -> None:
        self._wire = wire
        self._access = access
        self._order = order
        self._starts = starts
        self._observer = observer
        self._sources: list[Source] = [start.source for start in starts]
        self._scanner = Scanner(access, starts, links=order.links)
        self._told = 0.0
        self._number = 0
        self._pack: list[SmallFile] = []
        self._pack_size = 0  # of the contents
        self._packed = 0  # names too
        self._offers: list[Offer] = []
        self._offered = 0  # bytes of them
        self._waiting: deque[tuple[Found, int | None]] = deque()
        self._answers: SimpleQueue[Answer | None] = SimpleQueue()
        self._asked = self._answered = 0  # offers
        self._refused: set[int] = set()
        self._error: IroshError | None = None
        self._result: Result | None = None
        self._buffer = memoryview(bytearray(BLOCK))
        self._listening = threading.Thread(target=self._listen, name="transfer answers", daemon=True)

    def run(self) -> Result:
        """Send all; what the receiver says in the end. ``IroshError``."""
        self._listening.start()
        try:
            self._wire.send(Kind.SOURCES, Sources(self._sources))
            for found in self._scanner:
                self._tell_totals()
                self._take(found)
            self._send_waiting(0)
            self._flush()
            self._tell_totals(last=True)
            self._wire.send(Kind.FINISH)
        except IroshError as error:
            if error.code is ErrorCode.CONNECTION_LOST:
                self._listening.join(_LAST_WORDS)  # the receiver may have said why
            raise self._error or error from None
        finally:
            self._scanner.stop()
        self._listening.join()
        if self._result is None:
            raise self._error or IroshError(ErrorCode.CONNECTION_LOST, "the transfer was cut off at its end")
        return self._result

    # -- what the receiver says

    def _listen(self) -> None:
        try:
            while self._result is None and (frame := self._wire.receive()) is not None:
                self._heard(*frame)
            if self._result is None:
                self._error = IroshError(
                    ErrorCode.CONNECTION_LOST, "the transfer was cut off", "--resume goes on where it ended"
                )
        except IroshError as error:
            self._error = error
        finally:
            self._answers.put(None)

    def _heard(self, kind: Kind, payload: memoryview) -> None:
        if kind is Kind.ANSWERS:
            answers = decode(payload, Answers).answers
            self._answered += len(answers)
            if self._answered > self._asked:  # nobody would take them from the queue
                raise _not_asked()
            for answer in answers:
                self._answers.put(answer)
        elif kind is Kind.FAILURE:
            failure = decode(payload, Failure)
            if failure.number is not None:
                if failure.number > self._number:
                    raise _not_asked()
                self._refused.add(failure.number)
            self._observer.problem(
                shown_name(self._sources, failure.source, failure.parts), failure.message, harmless=False
            )
        elif kind is Kind.RESULT:
            self._result = decode(payload, Result)
        elif kind is Kind.FATAL:
            raise decode(payload, Fatal).error()
        elif kind is not Kind.ARRIVED:
            raise IroshError(ErrorCode.PROTOCOL, f"the receiver of files sent a {kind.name} frame")

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    # -- what is found

    def _take(self, found: Found) -> None:
        self._check()
        if not self._order.resume:
            self._send(found, None, None)
            return
        number = None
        if found.what is What.FILE:
            assert found.status is not None
            number = self._next_number()
            self._offers.append(Offer(number, found.source, found.parts, found.status.st_size, time_of(found.status)))
            self._offered += _room_for_name(found.parts)
        self._waiting.append((found, number))
        if len(self._offers) >= PACK_FILES or self._offered > PACK_BYTES:
            self._send_offers()
        self._send_waiting(_OFFERED)

    def _send_offers(self) -> None:
        if self._offers:
            self._asked += len(self._offers)
            self._wire.send(Kind.OFFERS, Offers(self._offers))
            self._offers, self._offered = [], 0

    def _send_waiting(self, most: int) -> None:
        """Send what waits for answers, until no more than ``most`` are left."""
        while len(self._waiting) > most:
            found, number = self._waiting.popleft()
            answer = None
            if number is not None:
                self._send_offers()
                answer = self._answer(number)
            self._send(found, number, answer)

    def _answer(self, number: int) -> Answer:
        try:
            answer = self._answers.get_nowait()
        except Empty:
            self._flush()  # what is packed need not wait with us
            answer = self._answers.get()
        if answer is None:
            raise self._error or IroshError(ErrorCode.CONNECTION_LOST, "the transfer was cut off")
        if answer.number != number:
            raise _not_asked()
        return answer

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    def _tell_totals(self, *, last: bool = False) -> None:
        now = time.monotonic()
        if now - self._told < _TOTALS_EVERY and not last:
            return
        self._told = now
        scanner = self._scanner
        complete = scanner.complete  # read first: what is counted after it is
        self._observer.totals(scanner.files, scanner.size, complete=complete)
        self._wire.send(Kind.TOTALS, Totals(scanner.files, scanner.size, complete))

    def _sign_of_life(self) -> None:
        """While nothing is sent for long: the receiver would give us up."""
        self._check()
        self._tell_totals()

    # -- sending

    def _send(self, found: Found, number: int | None, answer: Answer | None) -> None:
        what = found.what
        if what is What.FILE:
            if answer is not None and answer.complete:
                assert found.status is not None
                self._observer.moved(found.status.st_size, 1)
            else:
                self._send_file(found, number, answer)
        elif what is What.FOLDER:
            assert found.status is not None
            mode = stat.S_IMODE(found.status.st_mode)
            self._flush()
            self._wire.send(Kind.FOLDER, Folder(found.source, found.parts, mode, time_of(found.status)))
        elif what is What.LINK:
            assert found.status is not None
            self._flush()
            self._wire.send(Kind.LINK, Link(found.source, found.parts, found.target, time_of(found.status)))
        else:
            self._problem(found, found.message, harmless=what is What.HARMLESS)

    def _problem(self, found: Found, message: str, *, harmless: bool = False) -> None:
        self._observer.problem(shown_name(self._sources, found.source, found.parts), message, harmless=harmless)
        self._wire.send(Kind.PROBLEM, Problem(found.source, found.parts, message[:2000], harmless))

    def _send_file(self, found: Found, number: int | None, answer: Answer | None) -> None:
        try:
            descriptor = self._access.open_file(found.path)
        except OSError as error:
            self._problem(found, reason(error))
            return
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                self._problem(found, "no longer a file")
            elif answer is not None and answer.in_place:
                self._compare(found, number, descriptor, status, answer)
            elif status.st_size > SMALL_FILE or (answer is not None and answer.have):
                self._send_large(found, number, descriptor, status, answer)
            else:
                self._send_small(found, number, descriptor, status)
        except OSError as error:
            self._problem(found, reason(error))
        finally:
            os.close(descriptor)

    def _compare(
        self, found: Found, number: int | None, descriptor: int, status: os.stat_result, answer: Answer
    ) -> None:
        """Leave out a file that hashes to what is in its place."""
        hasher = blake3()
        same = answer.have == status.st_size == hash_file(descriptor, status.st_size, hasher, self._sign_of_life)
        if same and hasher.digest() == answer.digest:
            mode = status.st_mode & _PERMISSIONS
            self._wire.send(Kind.SAME, Same(found.source, found.parts, status.st_size, mode, time_of(status)))
            self._observer.moved(status.st_size, 1)
        elif status.st_size > SMALL_FILE:
            self._send_large(found, number, descriptor, status, None)
        else:
            self._send_small(found, number, descriptor, status)

    def _send_small(self, found: Found, number: int | None, descriptor: int, status: os.stat_result) -> None:
        data = os.read(descriptor, SMALL_FILE + 1)
        if len(data) != status.st_size:
            # It is being written to, or of a file system (/proc) that does not know sizes.
            while len(data) <= SMALL_FILE and (more := os.read(descriptor, SMALL_FILE + 1 - len(data))):
                data += more
            if len(data) > SMALL_FILE:
                self._send_large(found, number, descriptor, os.fstat(descriptor), None)
                return
        room = len(data) + _room_for_name(found.parts)
        if self._packed + room > PACK_BYTES or len(self._pack) >= PACK_FILES:
            self._flush()
        mode = status.st_mode & _PERMISSIONS
        digest = blake3(data).digest()
        self._pack.append(SmallFile(found.source, found.parts, mode, time_of(status), digest, data))
        self._pack_size += len(data)
        self._packed += room

    def _flush(self) -> None:
        if self._pack:
            self._wire.send_bytes(Kind.PACK, encode(Pack(self._pack)))
            self._observer.moved(self._pack_size, len(self._pack))
            self._pack, self._pack_size, self._packed = [], 0, 0

    def _send_large(
        self, found: Found, number: int | None, descriptor: int, status: os.stat_result, answer: Answer | None
    ) -> None:
        self._flush()
        number = self._next_number() if number is None else number
        hasher = blake3()
        offset = 0
        if answer is not None and 0 < answer.have <= status.st_size:
            there = hash_file(descriptor, answer.have, hasher, self._sign_of_life)
            if there == answer.have and hasher.digest() == answer.digest:
                offset = answer.have
            else:
                hasher = blake3()
        sparse = status.st_blocks * 512 + BLOCK < status.st_size
        mode = status.st_mode & _PERMISSIONS
        self._observer.file(shown_name(self._sources, found.source, found.parts))
        self._observer.moved(offset)
        self._wire.send(
            Kind.BEGIN,
            Begin(number, found.source, found.parts, status.st_size, mode, time_of(status), offset, sparse),
        )
        try:
            sent = self._send_content(number, descriptor, offset, status.st_size, sparse, hasher)
        except OSError as error:
            self._abort(found, reason(error))
            return
        if sent < status.st_size:
            if number not in self._refused:
                self._abort(found, "became shorter while it was read")
            else:
                self._wire.send(Kind.ABORT, Abort("not wanted"))
            return
        self._wire.send(Kind.END, End(hasher.digest()))
        self._observer.moved(0, 1)
        now = os.fstat(descriptor)
        if now.st_mtime_ns != status.st_mtime_ns or now.st_size != status.st_size:
            self._problem(found, "changed while it was read: what has arrived is of two minds")

    def _abort(self, found: Found, message: str) -> None:
        self._wire.send(Kind.ABORT, Abort(message))
        self._problem(found, message)

    def _send_content(self, number: int, descriptor: int, offset: int, size: int, sparse: bool, hasher: blake3) -> int:
        """Send from ``offset`` to ``size``; how far it came, which is less when the file is, or is not wanted."""
        buffer, wire, moved = self._buffer, self._wire, self._observer.moved
        data_until = 0 if sparse else size
        while offset < size:
            self._check()
            if number in self._refused:
                return offset
            if offset >= data_until:
                begin, data_until = _data_from(descriptor, offset, size)
                self._send_hole(begin - offset, hasher)
                offset = begin
                continue
            count = os.preadv(descriptor, [buffer[: min(BLOCK, data_until - offset)]], offset)
            if not count:
                return offset
            hasher.update(buffer[:count])
            wire.send_bytes(Kind.DATA, buffer[:count])
            moved(count)
            offset += count
        return offset

    def _send_hole(self, size: int, hasher: blake3) -> None:
        if not size:
            return
        hash_zeros(hasher, size)
        self._wire.send_bytes(Kind.HOLE, HOLE.pack(size))
        self._observer.moved(size)


def _not_asked() -> IroshError:
    return IroshError(ErrorCode.PROTOCOL, "the receiver of files answers what it was not asked")


def _room_for_name(parts: list[bytes]) -> int:
    """About how many bytes all but the content of a small file takes in a frame, or an offer."""
    return 100 + sum(map(len, parts)) + 3 * len(parts)


def _data_from(descriptor: int, offset: int, size: int) -> tuple[int, int]:
    """Where the next data of a sparse file begins and ends, at ``size`` at the latest."""
    try:
        begin = os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError:  # ENXIO: there is none any more
        return size, size
    end = os.lseek(descriptor, begin, os.SEEK_HOLE)
    return min(begin, size), min(max(end, begin), size)
