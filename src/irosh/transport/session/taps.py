"""What a session's stream hears of the copies between it and a socket."""

from __future__ import annotations

from collections.abc import Callable

from irosh.transport.interfaces import SpliceCounters
from irosh.transport.session.replay import ReplayLog


class KeepingTap:
    """Keeps in ``log`` what a copy sends, and holds it back while there is no room.

    See :class:`irosh.transport.interfaces.SendingTap`; ``has_room`` is its ``may_send``.
    """

    def __init__(
        self, log: ReplayLog, has_room: Callable[[Callable[[], None]], bool], counters: SpliceCounters
    ) -> None:
        self._log = log
        self._counters = counters
        self.may_send = has_room
        self.interrupt: Callable[[], None] = _nothing

    def sending(self, data: memoryview) -> None:
        self._log.append(data)
        self._counters.sent += len(data)


class CountingTap:
    """Tells ``copied`` how many bytes a copy has received; what that raises ends the copy.

    See :class:`irosh.transport.interfaces.ReceivingTap`.
    """

    def __init__(self, copied: Callable[[int], None], counters: SpliceCounters) -> None:
        self._copied = copied
        self._counters = counters

    def received(self, size: int) -> None:
        self._copied(size)
        self._counters.received += size


def _nothing() -> None:
    return None
