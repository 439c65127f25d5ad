"""One connection that carries a session: its control stream, and noticing when it is dead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from irosh.core.errors import ErrorCode
from irosh.core.session_settings import SessionSettings
from irosh.core.wire import LENGTH_SIZE, encode_frame, frame_length
from irosh.transport.interfaces import CarrierStream, Connection, ConnectionLost, StreamReset
from irosh.transport.session.frames import (
    MAX_ENTRIES,
    MAX_PROGRESS,
    Acks,
    Control,
    Live,
    Ping,
    Pong,
    Progress,
    decode_control,
)
from irosh.transport.small import SmallEvent
from irosh.transport.tasks import first_to_end

MAX_ARRIVING = 256  # streams between arrival and knowing what they are
MAX_PONGS = 16  # waiting to be sent; a peer that asks faster than it reads gets no more


class CarrierUser(Protocol):
    """The session, as its carriers know it."""

    def heard(self, carrier: Carrier, message: Control) -> None: ...

    async def arrive(self, carrier: Carrier, stream: CarrierStream, known: Callable[[], None]) -> None:
        """``known`` is to be called once it is clear what the stream is: from then on it hinders no other."""

    def datagram(self, data: bytes) -> None: ...


class Carrier:
    """``control``: the stream on which both sides greet each other. ``greeting`` reads what still comes of that."""

    def __init__(
        self,
        connection: Connection,
        control: CarrierStream,
        settings: SessionSettings,
        greeting: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.connection = connection
        self.local: str | None = None
        """The address of this machine that it is bound to; None: as the system routes it."""
        self._greeting = greeting
        self.since = time.time()
        self._control = control
        self._settings = settings
        self._clock = asyncio.get_running_loop().time
        self._last_heard = self._clock()
        self._acks: dict[int, int] = {}
        self._streams: dict[int, tuple[int, int]] = {}
        self._lanes: dict[int, int] = {}
        self._others: list[Control] = []
        self._wake = SmallEvent()
        self._pings = 0
        self._hopeless: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def serve(self, user: CarrierUser) -> ConnectionLost:
        """Serve until the connection is lost; returns why. ``IroshError`` when the peer breaks the protocol."""
        try:
            lost = await first_to_end(
                self._closed(),
                self._read_control(user),
                self._write_control(),
                self._accept(user),
                self._receive_datagrams(user),
                self._watch(),
                self._until_hopeless(),
            )
            assert isinstance(lost, ConnectionLost)
            return lost
        except ConnectionLost as lost:
            return lost

    def acknowledge(self, stream: int, offset: int) -> None:
        """Tell the peer, with the next chance, that all below ``offset`` has arrived."""
        self._acks[stream] = offset
        self._wake.set()

    def progress(self, streams: dict[int, tuple[int, int]], lanes: dict[int, int]) -> None:
        """Tell the peer, with the next chance, what a :class:`Progress` says; only the latest is kept."""
        self._streams |= streams
        self._lanes |= lanes
        self._wake.set()

    def send_live(self, streams: list[int]) -> None:
        """Tell the peer which of our streams live."""
        parts = [streams[start : start + MAX_ENTRIES] for start in range(0, len(streams), MAX_ENTRIES)] or [[]]
        self._others += [Live(part, complete=part is parts[-1]) for part in parts]
        self._wake.set()

    def tell(self, *messages: Control) -> None:
        """Send ``messages`` with the next chance."""
        self._others += messages
        self._wake.set()

    @property
    def untold(self) -> int:
        """Messages that wait, but for those of which only the latest counts."""
        return len(self._others)

    @property
    def silence(self) -> float:
        """Seconds since the peer last said something, data of streams aside."""
        return self._clock() - self._last_heard

    def ping(self) -> None:
        """Ask the peer for a sign of life."""
        self._pings += 1
        self.tell(Ping(self._pings))

    def give_up(self, reason: str) -> None:
        """Count the connection as lost."""
        if not self._hopeless.done():
            self._hopeless.set_result(reason)

    async def _until_hopeless(self) -> ConnectionLost:
        return _given_up(await self._hopeless)

    async def _closed(self) -> ConnectionLost:
        return await self.connection.wait_closed()

    async def _read_control(self, user: CarrierUser) -> ConnectionLost:
        try:
            if self._greeting is not None:
                await self._greeting()
            while True:
                length = frame_length(await self._control.read_exactly(LENGTH_SIZE))
                message = decode_control(await self._control.read_exactly(length))
                self._last_heard = self._clock()
                if isinstance(message, Ping):
                    if len(self._others) < MAX_PONGS:
                        self.tell(Pong(message.number))
                else:
                    user.heard(self, message)
        except (StreamReset, EOFError):
            return _given_up("the peer closed the control stream")

    async def _write_control(self) -> ConnectionLost:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                others, self._others = self._others, []
                acks = list(self._acks.items())
                self._acks.clear()
                messages = [
                    *others,
                    *(Acks(acks[start : start + MAX_ENTRIES]) for start in range(0, len(acks), MAX_ENTRIES)),
                    *self._take_progress(),
                ]
                # What is to be told gathers meanwhile.
                async with asyncio.timeout(self._settings.dead_after):
                    await self._control.write(b"".join(encode_frame(message) for message in messages))
        except StreamReset:
            return _given_up("the peer stopped the control stream")
        except TimeoutError:
            return _given_up("the peer does not read the control stream")

    def _take_progress(self) -> list[Control]:
        streams = [(number, *state) for number, state in self._streams.items()]
        lanes = list(self._lanes.items())
        self._streams.clear()
        self._lanes.clear()
        return [
            Progress(streams[start : start + MAX_PROGRESS], lanes[start : start + MAX_PROGRESS])
            for start in range(0, max(len(streams), len(lanes)), MAX_PROGRESS)
        ]

    async def _accept(self, user: CarrierUser) -> None:
        places = asyncio.Semaphore(MAX_ARRIVING)
        async with asyncio.TaskGroup() as group:
            try:
                while True:
                    await places.acquire()
                    stream = await self.connection.accept_stream()
                    place = Place(places)
                    arriving = group.create_task(user.arrive(self, stream, place.leave))
                    arriving.add_done_callback(lambda _, place=place: place.leave())  # type: ignore[misc]
            except ConnectionLost:
                await _for_ever()

    async def _receive_datagrams(self, user: CarrierUser) -> None:
        try:
            while True:
                user.datagram(await self.connection.receive_datagram())
        except ConnectionLost:
            await _for_ever()

    async def _watch(self) -> ConnectionLost:
        """Ask for a sign of life after a silence, and give up after a longer one."""
        settings = self._settings
        asked_after = self._last_heard - 1
        while True:
            silence = self.silence
            if silence >= settings.dead_after:
                return _given_up(f"no sign of life from the peer for {silence:.0f} s")
            if silence >= settings.keepalive and asked_after != self._last_heard:
                asked_after = self._last_heard
                self.ping()
            limit = settings.keepalive if asked_after != self._last_heard else settings.dead_after
            await asyncio.sleep(max(0.01, limit - self.silence))


class Place:
    """One of a bounded number, given back once."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places: asyncio.Semaphore | None = places

    def leave(self) -> None:
        """Let another have it."""
        places, self._places = self._places, None
        if places is not None:
            places.release()


def _given_up(message: str) -> ConnectionLost:
    return ConnectionLost(ErrorCode.CONNECTION_LOST, message, "is the other machine still on the network?")


async def _for_ever() -> None:
    """Until cancelled: another part says why the connection is lost."""
    await asyncio.get_running_loop().create_future()
