"""Going on with a session: which of a host's sessions a peer may take up again, and how its node finds it anew."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.paths import Paths
from irosh.core.wire import Hello, Resume
from irosh.core.wording import quoted
from irosh.node.peer_connection import PeerConnection
from irosh.transport.session.lifetime import Credentials, SessionLifetime

if TYPE_CHECKING:
    from irosh.transport.session.multi_session import MultiSession

ID_SIZE = 16
TOKEN_SIZE = 32


def peer_uses(hello: Hello) -> Paths:
    """How the peer wants to use several networks. ``IroshError`` (protocol-error)."""
    try:
        return Paths(hello.paths)
    except ValueError:
        raise IroshError(ErrorCode.PROTOCOL, f"{quoted(hello.paths)} is no use of paths known here") from None


def joinable(session: SessionLifetime) -> MultiSession:
    """``session``, if a further connection may join it. ``IroshError`` (protocol-error, busy)."""
    from irosh.transport.session.multi_session import MAX_CARRIERS, MultiSession

    if not isinstance(session, MultiSession):
        raise IroshError(ErrorCode.PROTOCOL, "that session has one path at a time")
    if session.is_full:
        raise IroshError(ErrorCode.BUSY, f"{MAX_CARRIERS} paths of one session are enough")
    return session


def new_credentials() -> Credentials:
    """For a new session."""
    return Credentials(secrets.token_bytes(ID_SIZE), secrets.token_bytes(TOKEN_SIZE))


def claimed_session(connections: Iterable[PeerConnection], peer_id: str, resume: Resume) -> PeerConnection:
    """The connection whose session ``peer_id`` proves to be its own. ``IroshError`` (session-unknown)."""
    for connection in connections:
        credentials = connection.session.credentials
        if (
            connection.peer_id == peer_id
            and not connection.dialed
            and credentials is not None
            and hmac.compare_digest(credentials.session, resume.session)
            and hmac.compare_digest(credentials.token, resume.token)
        ):
            return connection
    raise IroshError(
        ErrorCode.SESSION_UNKNOWN,
        "the session that was to go on has ended there, or was never this machine's",
        "connect again",
    )
