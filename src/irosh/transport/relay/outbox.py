"""What waits to be sent to one client: bounded in frames, bytes and age. Pure.

Datagrams that do not fit are dropped, as an overloaded router would: the QUIC connections inside notice the
loss and slow down. Those that have waited too long are dropped as well, since the sender has repeated them
by then; without that a slow receiver would see every byte late by the whole length of its queue. Control
frames have a small allowance of their own and overtake datagrams, so a full queue does not delay the pong
on which the connection's life depends.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

CONTROL_BYTES = 64 * 1024
"""Control bytes that may wait for one client. One that lets more pile up is not reading."""


@dataclass(slots=True)
class Budget:
    """Bytes that may wait in all outboxes together, and those that do."""

    limit: int
    used: int = 0


class Outbox:
    """The messages waiting for one client.

    Args:
        max_frames: datagram messages that may wait.
        max_bytes: bytes of datagram messages that may wait.
        max_age: seconds after which a waiting datagram message is not worth sending.
        budget: shared by all outboxes of a server.
    """

    __slots__ = (
        "_budget",
        "_bytes",
        "_control",
        "_control_bytes",
        "_datagrams",
        "_max_age",
        "_max_bytes",
        "_max_frames",
    )

    def __init__(self, max_frames: int, max_bytes: int, max_age: float, budget: Budget) -> None:
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._budget = budget
        self._datagrams: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._control: list[bytes] = []
        self._control_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._datagrams or self._control)

    @property
    def queued_bytes(self) -> int:
        """Bytes of datagram messages that wait."""
        return self._bytes

    def offer(self, message: bytes, now: float) -> bool:
        """Queues a datagram message; False if it was dropped for want of room."""
        size = len(message)
        if (
            self._bytes + size > self._max_bytes
            or len(self._datagrams) >= self._max_frames
            or self._budget.used + size > self._budget.limit
        ):
            return False
        self._datagrams.append((now, message))
        self._bytes += size
        self._budget.used += size
        return True

    def put_control(self, message: bytes) -> bool:
        """Queues a control message ahead of all datagrams; False if the client has let too many pile up."""
        if self._control_bytes + len(message) > CONTROL_BYTES:
            return False
        self._control.append(message)
        self._control_bytes += len(message)
        return True

    def take(self, limit: int, now: float) -> tuple[list[bytes], int]:
        """Removes the next messages: all control ones, then datagrams until ``limit`` bytes are reached.

        Returns:
            The messages in the order of sending, and how many datagram messages were dropped as too old.
        """
        messages, self._control = self._control, []
        size, self._control_bytes = self._control_bytes, 0
        queue, stale, oldest, removed = self._datagrams, 0, now - self._max_age, 0
        while queue and size < limit:
            queued_at, message = queue.popleft()
            removed += len(message)
            if queued_at < oldest:
                stale += 1
            else:
                messages.append(message)
                size += len(message)
        self._bytes -= removed
        self._budget.used -= removed
        return messages, stale

    def drop_datagrams(self) -> None:
        """Drops all datagram messages, returning their share of the budget."""
        self._budget.used -= self._bytes
        self._bytes = 0
        self._datagrams.clear()
