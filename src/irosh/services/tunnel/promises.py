"""Which remote forward a token belongs to; whether it is a good one is decided in :mod:`irosh.node.authorization`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from irosh.services.tunnel.remote_forward import RemoteForward


class Promises:
    """The remote forwards of one node, by their tokens."""

    def __init__(self) -> None:
        self._forwards: dict[bytes, RemoteForward] = {}

    @contextmanager
    def keep(self, token: bytes, forward: RemoteForward) -> Iterator[None]:
        """``token`` is that of ``forward`` while the context lasts."""
        self._forwards[token] = forward
        try:
            yield
        finally:
            del self._forwards[token]

    def find(self, token: bytes) -> RemoteForward | None:
        """The forward of an authorized ``token``; None when it has just ended."""
        return self._forwards.get(token)
