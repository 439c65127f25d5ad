"""Letting guests take part in a session: the ticket, what it grants, and the end of both."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import Any

from irosh.core.capability import Capability
from irosh.core.errors import ErrorCode, IroshError
from irosh.node.actions import MAY_SHARE, Join
from irosh.node.node import InviteTerms, Node
from irosh.node.operations import make_invite
from irosh.services.shell.persistent.codec import MAX_USERS
from irosh.services.shell.persistent.session import PersistentSession
from irosh.services.shell.persistent.terms import Share


class Sharing:
    """Of the sessions of one node. Who may share is asked before."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def check(self, users: int) -> None:
        """``IroshError`` (not-running, usage) when nothing can be shared with so many guests."""
        if not self._node.hosting:
            raise IroshError(
                ErrorCode.NOT_RUNNING, "the running node is no host: it lets nobody in", "start one with `irosh host`"
            )
        if not 1 <= users <= MAX_USERS:
            raise IroshError(ErrorCode.USAGE, f"{users} guests are not possible", f"from 1 to {MAX_USERS}")

    def begin(
        self, session: PersistentSession, *, read_only: bool, users: int, lifetime: float | None, by: str | None
    ) -> dict[str, Any]:
        """Let guests join with the ticket in the answer. ``by``: the endpoint id of who shares, None for this machine.

        ``IroshError`` (name-taken) when it is shared already.
        """
        self.check(users)
        if session.share is not None:
            raise IroshError(
                ErrorCode.NAME_TAKEN,
                f"session {session.terms.name} is shared already",
                "`unshare` ends that, and with it the earlier ticket",
            )
        share = Share(secrets.token_hex(16), read_only, users, by)
        made = make_invite(self._node, InviteTerms((f"join:{share.id}",), users, lifetime))
        session.share = share
        self._node.auditor.record("session", by, "changed", f"shared {session.terms.name}")
        return {"session": session.terms.name, "read_only": read_only, **made}

    def end(self, session: PersistentSession) -> int:
        """Guests have no place in the session any more, and ticket and capability are worth nothing; how many left."""
        share, session.share = session.share, None
        if share is None:
            return 0
        guests = [each for each in session.participants if not each.owner]
        for each in guests:
            session.put_out(each, "unshared")
        granted = f"join:{share.id}"
        with suppress(IroshError):  # a full disk; what stays grants nothing, as the id is never used again
            for invite in self._node.trust.invites():
                if granted in map(str, invite.capabilities):
                    self._node.trust.cancel_invite(invite.id)
            for peer in self._node.trust.peers():
                self._forget_joining(peer.id, share)
        return len(guests)

    def remove(self, session: PersistentSession, peer_id: str) -> None:
        """A guest may not come back."""
        share = session.share
        if share is not None:
            share.removed.add(peer_id)
            self._forget_joining(peer_id, share)
            self._node.auditor.record("session", peer_id, "changed", f"removed from {session.terms.name}")

    def check_rights(self, session: PersistentSession) -> None:
        """Whether who shares still may, and each guest still may be there: end what is not so."""
        share = session.share
        if share is None:
            return
        permits = self._node.authorizer.permits
        if share.by is not None and not permits(share.by, MAY_SHARE):
            self.end(session)
            return
        for each in session.participants:
            if not each.owner and each.peer_id is not None and not permits(each.peer_id, Join(share.id)):
                session.put_out(each, "revoked")

    def invited_to(
        self, peer_id: str, name: str | None, shared: list[PersistentSession]
    ) -> tuple[PersistentSession, Share]:
        """The latest of the ``shared`` sessions that a guest may join. ``IroshError`` (session-unknown)."""
        for session in reversed(shared):
            share = session.share
            if share is None or (name is not None and session.terms.name != name):
                continue
            if peer_id not in share.removed and self._node.authorizer.permits(peer_id, Join(share.id)):
                return session, share
        raise IroshError(
            ErrorCode.SESSION_UNKNOWN,
            "there is no shared session here that you may join",
            "it has ended, or its owner has removed you",
        )

    def _forget_joining(self, peer_id: str, share: Share) -> None:
        peer = self._node.trust.get(peer_id)
        granted = Capability("join", session=share.id)
        if peer is None or granted not in peer.capabilities:
            return
        self._node.trust.set_capabilities(peer_id, [each for each in peer.capabilities if each != granted])
