"""SSH for somebody whom a peer only brings: the key tells which peer it is, and what that one may do counts."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import asyncssh

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.peer import Peer
from irosh.core.ssh_key import KEY_TYPE
from irosh.node.accounts import find_account, is_own_account
from irosh.node.actions import Action, AsUser, Grant, Immediate, Use
from irosh.node.authorization import Authorizer
from irosh.node.guests import Guests
from irosh.node.verification import Verification
from irosh.services.shell.server import IroshSSHServer
from irosh.services.shell.ssh_context import SSHContext

_PUBLIC_KEY_SIZE = 32


async def refuse(action: Action) -> Grant:
    """What is granted to somebody who is not known yet."""
    return refuse_now(action)


def refuse_now(action: Action) -> Grant:
    """As :func:`refuse`."""
    raise IroshError(ErrorCode.DENIED, f"nobody has logged in who could use {action}")


class GuestSSHServer(IroshSSHServer):
    """``context`` is to grant nothing until somebody has logged in, least of all what the peer that brings may do.

    ``entry``: one of these a peer needs to speak SSH to this host at all, whichever way it comes."""

    def __init__(self, context: SSHContext, guests: Guests, authorizer: Authorizer, entry: Use) -> None:
        super().__init__(context, None, None)
        self._guests = guests
        self._authorizer = authorizer
        self._entry = entry
        self._claimed: Peer | None = None
        self._user = ""
        # Nothing was shown but the key, and nobody knows from where: what asks for more lets no guest in.
        self._verification = Verification()
        self.guest: Peer | None = None
        """Who has logged in."""

    def begin_auth(self, username: str) -> bool:
        self._user = username
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Whether this key would do. Nothing is proven yet, so nothing is written down about the peer."""
        self._claimed = self._guests.find(_endpoint_id(key))
        return self._claimed is not None and all(
            self._authorizer.would_grant(self._claimed.id, action) for action in self._needed()
        )

    def auth_completed(self) -> None:
        """The peer has signed with the key that was validated last."""
        assert self._claimed is not None
        guest = self._claimed
        context = self._context
        shown = self._verification
        authorize = functools.partial(self._authorizer.authorize, guest.id, verification=shown)
        authorize_now = functools.partial(self._authorizer.authorize_now, guest.id, verification=shown)
        context.terms = functools.partial(self._authorizer.terms, guest.id, shown)
        environment = {"IROSH_PEER": guest.petname, "IROSH_PEER_ID": guest.id, "IROSH_VIA": context.petname}
        context.authorize, context.authorize_now = authorize, authorize_now
        context.permits = functools.partial(self._authorizer.permits, guest.id)
        context.environment = environment
        context.petname = guest.petname
        try:
            for action in self._needed():
                authorize_now(action)
            self._account = find_account(self._user)
            self._is_own_account = is_own_account(self._user)
        except IroshError as error:
            assert self._connection is not None
            self._connection.disconnect(asyncssh.DISC_SERVICE_NOT_AVAILABLE, error.message)
            return
        self.guest = guest

    def _needed(self) -> Sequence[Immediate]:
        return (self._entry, AsUser(self._user, own=is_own_account(self._user)))


def _endpoint_id(key: asyncssh.SSHKey) -> str:
    """The endpoint id of an Ed25519 key; of other keys something that is none."""
    return key.public_data[-_PUBLIC_KEY_SIZE:].hex() if key.algorithm == KEY_TYPE else ""
