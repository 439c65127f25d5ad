"""Which kind of session goes with which use of paths."""

from __future__ import annotations

from irosh.core.paths import Paths
from irosh.core.session_settings import SessionSettings
from irosh.transport.session.carrier import Carrier
from irosh.transport.session.lifetime import SessionLifetime
from irosh.transport.session.session import Session


def new_session(first: Carrier, settings: SessionSettings, *, dialed: bool, uses: Paths) -> SessionLifetime:
    """A session, first carried by ``first``. Both sides must agree on ``uses``."""
    if uses is Paths.FASTEST:
        return Session(first, settings, dialed=dialed)
    from irosh.transport.session.multi_session import MultiSession

    return MultiSession(first, settings, dialed=dialed, uses=uses)
