"""The official ``iroh`` bindings, as this package uses them: with the byte path of :mod:`irosh.transport.fastpath`."""

from __future__ import annotations

from typing import Any

from iroh import iroh_ffi as iroh

from irosh.transport import fastpath, wheel_freeing
from irosh.transport.wheel_calls import stream_calls

__all__ = ["CALLS", "error_text", "iroh"]

_freeing, _ = wheel_freeing.install(iroh)
fastpath.install(iroh, _freeing)
CALLS = stream_calls(iroh)
"""None when the bindings are not made as :mod:`irosh.transport.wheel_calls` knows them."""


def error_text(error: Any) -> str:
    """What an ``iroh.IrohError`` says."""
    return str(error.message())
