"""Where forwards lead when this node has no link of its own to the target: what finds such a way, and what it can."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from irosh.core.socket_spec import SocketSpec
from irosh.node.control import Channel
from irosh.transport.interfaces import Stream

Take = Callable[[Stream, str], object]
"""Gets each connection to a listener there, and who made it."""


class ListenerThere(Protocol):
    """A listener at the far end. ``at``: where it listens."""

    at: SocketSpec

    async def close(self) -> None:
        """Listen no more; open connections go on."""


class ForwardWay(Protocol):
    """A way to a target through other machines. ``connected``: fields of the event that tells of it."""

    connected: dict[str, Any]

    async def open(self, target: SocketSpec) -> Stream:
        """Have the far end connect to ``target``; names are resolved there. ``IroshError``: denied, …"""

    async def listen(self, host: str | None, port: int, path: str, take: Take) -> ListenerThere:
        """Have the far end listen; arguments as in :class:`irosh.core.forward_spec.ListenAt`. ``IroshError``."""

    async def until_lost(self) -> None:
        """Raises ``IroshError`` with the reason once the way is broken."""


FindWay = Callable[[Channel, dict[str, Any]], AbstractAsyncContextManager[ForwardWay] | None]
"""The way that a request asks for, to be gone; None: it asks for none."""
