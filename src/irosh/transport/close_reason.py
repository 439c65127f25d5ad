"""How a connection's end is told to the peer: an application error code of QUIC and a short reason text.

The reason is compact JSON of an :class:`IroshError`, small enough for one CONNECTION_CLOSE frame (RFC 9000, 19.19).
"""

from __future__ import annotations

import json
import re

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.wording import printable
from irosh.transport.interfaces import ConnectionLost

CLOSE_NORMAL = 0
CLOSE_ERROR = 1
CLOSE_MOVED = 2  # only this connection ends: what it carried goes on over another
_MAX_TEXT = 320  # characters of message and of hint; both and the code must fit one packet
_MAX_SHOWN = 400  # characters of a peer's text

# noq's texts for the end of a connection
_BY_PEER = re.compile(r"closed by peer: (?P<reason>.*) \(code (?P<code>\d+)\)\Z", re.DOTALL)
_BY_PEER_BARE = re.compile(r"closed by peer: (?P<code>\d+)\Z")


def encode_reason(error: IroshError | None) -> tuple[int, bytes]:
    """The QUIC error code and reason phrase for ``error`` (None: an ordinary end)."""
    if error is None:
        return CLOSE_NORMAL, b""
    fields = {"c": str(error.code), "m": error.message[:_MAX_TEXT], "h": error.hint[:_MAX_TEXT]}
    return CLOSE_ERROR, json.dumps(fields, separators=(",", ":"), ensure_ascii=True).encode()


def decode_reason(text: str | None) -> ConnectionLost:
    """The error behind the engine's text for a closed connection. Hostile or foreign reasons are shown escaped."""
    if not text:
        return ConnectionLost(ErrorCode.CONNECTION_LOST, "the connection is closed")
    if bare := _BY_PEER_BARE.match(text):
        return _by_peer(int(bare["code"]), "")
    if match := _BY_PEER.match(text):
        return _by_peer(int(match["code"]), match["reason"])
    if "timed out" in text:
        return ConnectionLost(
            ErrorCode.CONNECTION_LOST, "the connection timed out", "is the other machine still on the network?"
        )
    return ConnectionLost(ErrorCode.CONNECTION_LOST, f"the connection ended: {printable(text, _MAX_SHOWN)}")


def _by_peer(code: int, reason: str) -> ConnectionLost:
    lost = _reason_of_peer(reason)
    lost.deliberate = code != CLOSE_MOVED
    return lost


def _reason_of_peer(reason: str) -> ConnectionLost:
    if not reason:
        return ConnectionLost(ErrorCode.CONNECTION_LOST, "the peer ended the connection")
    try:
        fields = json.loads(reason)
        error = IroshError.from_dict({"code": fields["c"], "message": fields["m"], "hint": fields["h"]})
    except (ValueError, KeyError, TypeError):
        shown = printable(reason, _MAX_SHOWN)
        return ConnectionLost(ErrorCode.CONNECTION_LOST, f"the peer ended the connection: {shown}")
    return ConnectionLost(error.code, error.message[:_MAX_SHOWN], error.hint[:_MAX_SHOWN])
