"""Invites: one-time secrets that let an unknown identity become a peer with given capabilities.

Only a hash of the secret is stored, so whoever reads the database cannot use the invites in it. The secret
has 128 random bits, which makes a plain hash enough; the hash's first 32 bits are the invite's public id.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

from irosh.core.capability import Capability
from irosh.core.database import Database
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.factor_store import factors_from_text, factors_to_text
from irosh.core.peer import capabilities_from_text, capabilities_to_text
from irosh.core.second_factor import Factor
from irosh.core.wording import quoted

SECRET_SIZE = 16
"""Bytes."""
MAX_USES = 1_000_000
KEPT_AFTER_EXPIRY = 30 * 86_400.0
"""Seconds for which a late comer is still told "expired" rather than "not known here"."""

_ASK_AGAIN = "ask for a new ticket"
_SELECT = "SELECT id, capabilities, uses, uses_left, created_at, expires_at, digest, factors FROM invites"


@dataclass(frozen=True, slots=True)
class InviteInfo:
    """An invite as its maker may see it: everything but the secret. Times in Unix seconds."""

    id: str
    capabilities: tuple[Capability, ...]
    uses: int
    uses_left: int
    created_at: float
    expires_at: float
    factors: tuple[Factor, ...] = ()
    """What is required, besides its identity, of whom it lets in."""

    def to_dict(self) -> dict[str, object]:
        """The invite as ``--json`` shows it."""
        return {
            "id": self.id,
            "capabilities": [str(capability) for capability in self.capabilities],
            "uses": self.uses,
            "uses_left": self.uses_left,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "require": [str(factor) for factor in self.factors],
        }


class Invites:
    """The invites in the state database. Every method also raises ``IroshError`` as ``Database`` does."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def create(
        self, capabilities: Iterable[Capability], uses: int, lifetime: float, factors: Iterable[Factor] = ()
    ) -> bytes:
        """Make an invite for ``uses`` identities, valid for ``lifetime`` seconds; returns the secret.

        Raises ``IroshError(USAGE)`` for a number of uses or a lifetime that makes no sense.
        """
        if not 1 <= uses <= MAX_USES:
            raise IroshError(ErrorCode.USAGE, f"an invite cannot have {uses} uses", f"from 1 to {MAX_USES}")
        if not lifetime > 0:
            raise IroshError(ErrorCode.USAGE, "an invite must be valid for more than no time")
        granted = capabilities_to_text(capabilities)
        now = self._clock()
        with self._database.transaction():
            self._database.execute("DELETE FROM invites WHERE expires_at < ?", (now - KEPT_AFTER_EXPIRY,))
            while True:
                secret = secrets.token_bytes(SECRET_SIZE)
                digest = _digest(secret)
                if not self._database.query("SELECT 1 FROM invites WHERE id = ?", (_id(digest),)):
                    break
            self._database.execute(
                "INSERT INTO invites VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (_id(digest), digest, granted, uses, uses, now, now + lifetime, factors_to_text(factors)),
            )
        return secret

    def redeem(self, secret: bytes, peer_id: str) -> tuple[tuple[Capability, ...], tuple[Factor, ...], bool]:
        """Use the invite once for ``peer_id``. To be called inside a transaction.

        Returns what the invite grants, what it requires, and whether that is settled: the peer redeemed this invite
        before, and since then something was decided about it (:meth:`settle`). A repetition consumes no use. Raises
        ``IroshError``: ``INVITE_INVALID``, ``INVITE_EXPIRED`` or ``INVITE_USED``.
        """
        invite, earlier = self._check(secret, peer_id)
        if earlier is not None:
            return invite.capabilities, invite.factors, earlier
        self._database.execute("UPDATE invites SET uses_left = uses_left - 1 WHERE id = ?", (invite.id,))
        self._database.execute("INSERT INTO redemptions VALUES (?, ?, 0)", (invite.id, peer_id))
        return invite.capabilities, invite.factors, False

    def check(self, secret: bytes, peer_id: str) -> bool:
        """Raises what :meth:`redeem` would, and says what it would of whether that is settled; uses nothing up."""
        return bool(self._check(secret, peer_id)[1])

    def _check(self, secret: bytes, peer_id: str) -> tuple[InviteInfo, bool | None]:
        """The invite; and if the peer redeemed it before, whether that is settled."""
        digest = _digest(secret)
        # The id, found by an ordinary look-up, is part of a hash: its timing says nothing about the secret.
        rows = self._database.query(f"{_SELECT} WHERE id = ?", (_id(digest),))
        if not rows or not hmac.compare_digest(cast(bytes, rows[0][6]), digest):
            raise IroshError(ErrorCode.INVITE_INVALID, "this host does not know the invite in the ticket", _ASK_AGAIN)
        invite = _info(rows[0])
        if self._clock() >= invite.expires_at:
            raise IroshError(ErrorCode.INVITE_EXPIRED, "the invite in the ticket has expired", _ASK_AGAIN)
        earlier = self._database.query(
            "SELECT settled FROM redemptions WHERE invite = ? AND peer = ?", (invite.id, peer_id)
        )
        if earlier:
            return invite, bool(earlier[0][0])
        if invite.uses_left < 1:
            raise IroshError(ErrorCode.INVITE_USED, "the invite in the ticket has been used up", _ASK_AGAIN)
        return invite, None

    def settle(self, peer_id: str) -> None:
        """Something was decided about ``peer_id``: from now on its earlier redemptions grant nothing more."""
        self._database.execute("UPDATE redemptions SET settled = 1 WHERE peer = ?", (peer_id,))

    def usable(self) -> list[InviteInfo]:
        """Invites that can still be used, the oldest first."""
        rows = self._database.query(
            f"{_SELECT} WHERE uses_left > 0 AND expires_at > ? ORDER BY created_at, id",
            (self._clock(),),
        )
        return [_info(row) for row in rows]

    def cancel(self, invite_id: str) -> None:
        """Forget an invite. Raises ``IroshError(UNKNOWN_TARGET)`` if there is none with this id."""
        if not self._database.execute("DELETE FROM invites WHERE id = ?", (invite_id,)):
            raise IroshError(ErrorCode.UNKNOWN_TARGET, f"there is no invite {quoted(invite_id)}")


def _digest(secret: bytes) -> bytes:
    return hashlib.blake2b(secret, digest_size=32, person=b"irosh invite v1").digest()


def _id(digest: bytes) -> str:
    return digest[:4].hex()


def _info(row: tuple[object, ...]) -> InviteInfo:
    invite_id, granted, uses, uses_left, created_at, expires_at, _, factors = cast(
        "tuple[str, str, int, int, float, float, bytes, str]", row
    )
    required = factors_from_text(factors)
    return InviteInfo(invite_id, capabilities_from_text(granted), uses, uses_left, created_at, expires_at, required)
