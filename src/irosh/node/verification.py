"""Second factors on a host: what a session has given, and the one place where answers are checked and counted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from irosh.core import security_key, totp
from irosh.core.durations import format_duration
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.factor_store import NO_TOUCH, VERIFY, Enrolment
from irosh.core.password import LONGEST, matches
from irosh.core.second_factor import Factor
from irosh.core.ssh_certificate import Certificate
from irosh.core.trust import TrustStore
from irosh.node.audit import Auditor
from irosh.node.revoked_keys import RevokedKeys
from irosh.transport.interfaces import Path

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = logging.getLogger(__name__)

MAX_HASHING = 2  # argon2 runs at once, for all peers: 20 MiB and a core each
MAX_WAITING = 4  # answers of one peer that wait to be checked


class Verification:
    """What was given on one session, or on one SSH connection, which also has what its session has (``within``).

    ``paths``: by which network paths the peer reaches this node. ``certificate``: what it has shown in its greeting.
    """

    def __init__(self, within: Verification | None = None, paths: Callable[[], list[Path]] | None = None) -> None:
        self._within = within
        self.paths: Callable[[], list[Path]] = within.paths if within is not None else paths or list
        self.certificate: Certificate | None = None if within is None else within.certificate
        self._given: dict[Factor, tuple[float, str, float]] = {}
        self.asking = False
        """Whether an exchange is under way: one at a time is enough."""

    def give(self, enrolment: Enrolment) -> None:
        """The factor was given, and matched this."""
        self._given[enrolment.factor] = (time.monotonic(), enrolment.id, enrolment.set_at)

    def has(self, factor: Factor, enrolments: list[Enrolment], lifetime: float) -> bool:
        """Whether the factor was given, no longer ago than ``lifetime`` seconds (0: ever), and is still the same."""
        if self._within is not None and self._within.has(factor, enrolments, lifetime):
            return True
        when, key, set_at = self._given.get(factor, (0.0, "", 0.0))
        if factor not in self._given or (lifetime and time.monotonic() - when > lifetime):
            return False
        return any((each.factor, each.id, each.set_at) == (factor, key, set_at) for each in enrolments)


@dataclass(frozen=True)
class FactorSettings:
    """``attempts``: failures in a row that lock a peer out. ``lifetime``: seconds for which what was given counts,
    0 for as long as the session lasts."""

    attempts: int = 10
    lifetime: float = 0.0


class FactorGate:
    """Knows what a peer still has to give, and checks what it gives. Answers of one peer are checked one by one."""

    def __init__(self, trust: TrustStore, auditor: Auditor, settings: FactorSettings, revoked: RevokedKeys) -> None:
        self._trust = trust
        self._store = trust.factors
        self._auditor = auditor
        self._settings = settings
        self._revoked = revoked
        self._hashing = asyncio.Semaphore(MAX_HASHING)
        self._turns: WeakValueDictionary[str, _Turns] = WeakValueDictionary()

    @property
    def lifetime(self) -> float:
        """Seconds for which what was given counts; 0: as long as the session lasts."""
        return self._settings.lifetime

    def missing(self, peer_id: str, verification: Verification | None) -> tuple[Factor, ...]:
        """What is required of the peer and was not given."""
        required = self._store.required(peer_id)
        if not required:
            return ()
        enrolments = self._enrolments(peer_id)
        lifetime = self._settings.lifetime
        return tuple(
            factor for factor in required if verification is None or not verification.has(factor, enrolments, lifetime)
        )

    def check(self, peer_id: str, verification: Verification | None) -> None:
        """Nothing may be missing. ``IroshError`` (factor-required)."""
        missing = self.missing(peer_id, verification)
        if missing:
            raise IroshError(
                ErrorCode.FACTOR_REQUIRED,
                f"this host asks for a second factor: {', '.join(missing)}",
                "irosh asks for it on a terminal; without one set SSH_ASKPASS",
            )

    def check_enrolled(self, peer_id: str, factor: Factor) -> None:
        """There must be something that an answer could match. ``IroshError`` (factor-failed)."""
        if not any(each.factor is factor for each in self._enrolments(peer_id)):
            raise IroshError(
                ErrorCode.FACTOR_FAILED,
                f"this host asks for a {factor}, but none was set for this peer",
                f"the host's owner sets it: irosh peer require NAME {factor}",
            )

    def check_locked(self, peer_id: str) -> float:
        """Seconds until the peer's next answer is looked at. ``IroshError`` (factor-locked)."""
        failures = self._store.failures(peer_id)
        if failures.count >= self._settings.attempts:
            raise IroshError(
                ErrorCode.FACTOR_LOCKED,
                f"locked out after {failures.count} failed attempts",
                "the host's owner can end that: irosh peer unlock NAME",
            )
        return max(failures.wait, self._store.all_wait())

    def keys(self, peer_id: str) -> list[Enrolment]:
        """The peer's security keys."""
        return [each for each in self._enrolments(peer_id) if each.factor is Factor.SECURITY_KEY]

    def _enrolments(self, peer_id: str) -> list[Enrolment]:
        """What the peer's answers must match, without security keys that were revoked."""
        return [
            each
            for each in self._store.enrolments(peer_id)
            if each.factor is not Factor.SECURITY_KEY or self._is_taken(each)
        ]

    def _is_taken(self, key: Enrolment) -> bool:
        try:
            return not self._revoked.has_key(security_key.parse_security_key(key.value).blob)
        except IroshError:  # the list cannot be read, and nobody gets in
            return False

    # Answers. Each raises ``IroshError``: factor-failed; factor-locked; busy when it comes too soon.

    async def give_password(self, peer_id: str, verification: Verification, password: str) -> None:
        """A password."""

        async def right(enrolment: Enrolment) -> bool:
            if len(password.encode("utf-8", "surrogatepass")) > LONGEST:
                return False
            async with self._hashing:
                return await asyncio.to_thread(matches, password, enrolment.value)

        await self._attempt(peer_id, verification, Factor.PASSWORD, "", right)

    async def give_totp(self, peer_id: str, verification: Verification, code: str) -> None:
        """A code of an authenticator app. Its step, and those before, are used up by it."""

        async def right(enrolment: Enrolment) -> bool:
            step = totp.matching_step(
                totp.decode_secret(enrolment.value), code[:32], time.time(), after=enrolment.counter
            )
            return step is not None and self._store.use(peer_id, enrolment, step)

        await self._attempt(peer_id, verification, Factor.TOTP, "", right)

    async def give_signature(
        self, peer_id: str, verification: Verification, key: security_key.SecurityKey, message: bytes, signature: bytes
    ) -> None:
        """The signature of ``message`` by a security key. Its counter must not go back."""

        async def right(enrolment: Enrolment) -> bool:
            said = security_key.verify(key, message, signature)
            if said is None:
                return False
            if NO_TOUCH not in enrolment.conditions and not said.flags & security_key.TOUCHED:
                return False
            if VERIFY in enrolment.conditions and not said.flags & security_key.VERIFIED:
                return False
            return self._store.use(peer_id, enrolment, said.counter)

        await self._attempt(peer_id, verification, Factor.SECURITY_KEY, key.fingerprint, right)

    async def _attempt(
        self,
        peer_id: str,
        verification: Verification,
        factor: Factor,
        key: str,
        right: Callable[[Enrolment], Awaitable[bool]],
    ) -> None:
        turns = self._turns.get(peer_id)
        if turns is None:
            turns = self._turns[peer_id] = _Turns()
        async with turns.next():
            try:
                self.check_enrolled(peer_id, factor)
                wait = self.check_locked(peer_id)
                if wait > 0:
                    raise IroshError(
                        ErrorCode.BUSY,
                        f"after failed attempts the next one is looked at in {format_duration(max(1, round(wait)))}",
                        "wait, then try again",
                    )
                self._store.begin_attempt(peer_id)
                enrolments = {each.id: each for each in self._enrolments(peer_id) if each.factor is factor}
                enrolment = enrolments.get(key)
                if enrolment is None or not await right(enrolment):
                    raise IroshError(ErrorCode.FACTOR_FAILED, _WRONG[factor])
            except IroshError as error:
                self._auditor.record("factor", peer_id, "refused", f"{factor}: {error.message}")
                raise
            verification.give(enrolment)
            if self.missing(peer_id, verification):
                self._store.withdraw_attempt(peer_id)
            else:
                self._store.unlock(peer_id)
            self._auditor.record("factor", peer_id, "accepted", str(factor))


class _Turns:
    """The answers of one peer, one after the other."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._waiting = 0

    @asynccontextmanager
    async def next(self) -> AsyncIterator[None]:
        if self._waiting >= MAX_WAITING:
            raise IroshError(ErrorCode.BUSY, "too many answers wait to be checked", "try again")
        self._waiting += 1
        try:
            async with self._lock:
                yield
        finally:
            self._waiting -= 1


_WRONG = {
    Factor.PASSWORD: "wrong password",
    Factor.TOTP: "wrong code, or one that was used already",
    Factor.SECURITY_KEY: "the security key's answer was not accepted",
}
