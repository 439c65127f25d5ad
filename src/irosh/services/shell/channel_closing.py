"""A channel that its client closes ends at once, though nobody has taken yet what the client sent before.

AsyncSSH hands over all that first, so a program that reads nothing would go on without its client for ever. It looks up
what handles a message by its number: that is where ours goes in. Where it is made otherwise, nothing is done.
"""

from __future__ import annotations

from typing import Any

from asyncssh.constants import MSG_CHANNEL_CLOSE


def end_when_closed(chan: Any) -> None:
    """Do so with ``chan``, which has just been made."""
    handlers = getattr(chan, "_packet_handlers", {})
    if (handle := handlers.get(MSG_CHANNEL_CLOSE)) is None:
        return

    def closed(chan: Any, kind: int, number: int, packet: Any) -> None:
        handle(chan, kind, number, packet)
        chan.abort()

    chan._packet_handlers = {**handlers, MSG_CHANNEL_CLOSE: closed}
