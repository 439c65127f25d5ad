"""Peers that begin a session here: what gives way to it, and what it is."""

from __future__ import annotations

from collections.abc import Sequence

from irosh.core.errors import ErrorCode, IroshError
from irosh.node.greeting import Doorway, Greeted
from irosh.node.peer_connection import PeerConnection
from irosh.node.resumption import peer_uses
from irosh.transport.session.carrier import Carrier
from irosh.transport.session.kinds import new_session
from irosh.transport.session.lifetime import Credentials

MAX_CONNECTIONS_OF_ONE = 32  # of one admitted peer


def new_incoming(
    doorway: Doorway, greeted: Greeted, credentials: Credentials, others: Sequence[PeerConnection]
) -> PeerConnection:
    """The new session of an admitted peer, beside ``others`` that it has."""
    settings, hello = doorway.settings, greeted.hello
    carrier = Carrier(greeted.connection, greeted.control, settings)
    session = new_session(carrier, settings, dialed=False, uses=peer_uses(hello))
    for other in others:
        session.share_memory(other.session)
    session.established(credentials, resume_for=settings.resume_for, replay_buffer=hello.replay_buffer)
    peer = PeerConnection(doorway, session, dialed=False, instance=hello.instance, through=greeted.through)
    peer.verification.certificate = greeted.certificate
    return peer


def make_place(live: Sequence[PeerConnection], greeted: Greeted) -> None:
    """A node that comes anew has lost the sessions it left behind; otherwise a peer may have only so many.

    Of those it left some may seem to be carried still; they end once they are found not to be. ``live``: all that the
    peer has. ``IroshError`` (busy).
    """
    waiting = [peer for peer in live if peer.session.is_down and not peer.dialed]
    left = [peer for peer in live if peer.instance != greeted.hello.instance and not peer.dialed]
    for peer in left:
        peer.session.resume_for = 0.0
    ended = [peer for peer in left if peer.session.is_down]
    if len(live) - len(ended) >= MAX_CONNECTIONS_OF_ONE:
        ended = waiting
    for peer in ended:
        peer.close(IroshError(ErrorCode.CONNECTION_LOST, "the peer has begun anew"))
    if len(live) - len(ended) >= MAX_CONNECTIONS_OF_ONE:
        raise IroshError(ErrorCode.BUSY, f"{MAX_CONNECTIONS_OF_ONE} connections of one peer are enough")
