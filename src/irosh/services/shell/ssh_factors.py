"""Second factors by SSH's own methods, for clients that know no others: what a stock ``ssh`` asks its user for.

``keyboard-interactive`` asks for password and code, ``publickey`` takes a security key. What was given counts for this
SSH connection only. Answers are checked where all are, in the node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncssh

from irosh.core.errors import IroshError
from irosh.core.second_factor import Factor
from irosh.core.security_key import MAX_SIGNATURE, SecurityKey, parse_key_blob
from irosh.node.verification import FactorGate, Verification

LONGEST_WAIT = 30.0  # seconds after failed attempts for which the prompt is held back, rather than refused
_PROMPTS = {Factor.PASSWORD: "Password: ", Factor.TOTP: "Code: "}

Challenge = tuple[str, str, str, Sequence[tuple[str, bool]]]


class SSHFactors:
    """Of one SSH connection."""

    def __init__(self, gate: FactorGate, peer_id: str, verification: Verification) -> None:
        self._gate = gate
        self._peer_id = peer_id
        self._verification = verification
        self._asked: Factor | None = None
        self._signed: tuple[SecurityKey, bytes, bytes] | None = None

    @property
    def missing(self) -> tuple[Factor, ...]:
        """What the peer still has to give."""
        return self._gate.missing(self._peer_id, self._verification)

    @property
    def asks(self) -> bool:
        """Whether there is anything to ask by keyboard-interactive."""
        return any(factor in _PROMPTS for factor in self.missing)

    async def challenge(self, say: Callable[[str], None]) -> Challenge | bool:
        """The next prompt; True when nothing more is asked for, False when it would be in vain, after saying why."""
        self._asked = next((factor for factor in self.missing if factor in _PROMPTS), None)
        if self._asked is None:
            return True
        try:
            self._gate.check_enrolled(self._peer_id, self._asked)
            wait = self._gate.check_locked(self._peer_id)
        except IroshError as error:
            say(str(error))
            return False
        if wait > LONGEST_WAIT:
            say(f"after failed attempts the next one is looked at in {round(wait)} s")
            return False
        await asyncio.sleep(wait)
        return ("", "", "en", ((_PROMPTS[self._asked], False),))

    async def answered(self, answers: Sequence[str], say: Callable[[str], None]) -> Challenge | bool:
        """Check the answer to the last prompt; returns as :meth:`challenge`."""
        asked, self._asked = self._asked, None
        if asked is None or len(answers) != 1:
            return False
        give = self._gate.give_password if asked is Factor.PASSWORD else self._gate.give_totp
        try:
            await give(self._peer_id, self._verification, answers[0])
        except IroshError as error:
            say(error.message)
            return False
        return await self.challenge(say)

    def takes_key(self, key: asyncssh.SSHKey) -> bool:
        """Whether ``key`` is a security key of the peer. If so, its signature waits for :meth:`check_signature`.

        The library would verify the signature, but tells neither the counter nor the flags in it.
        """
        if Factor.SECURITY_KEY not in self.missing:
            return False
        try:
            known = parse_key_blob(key.public_data)
        except ValueError:
            return False
        if known.fingerprint not in {each.id for each in self._gate.keys(self._peer_id)}:
            return False

        def remember(data: bytes, sig: bytes) -> bool:
            self._signed = (known, data, sig)
            return len(sig) <= MAX_SIGNATURE

        key.verify = remember  # type: ignore[method-assign]
        return True

    async def check_signature(self, say: Callable[[str], None]) -> bool:
        """Check the signature that waits, if any; False when it is not accepted."""
        signed, self._signed = self._signed, None
        if signed is None:
            return True
        try:
            await self._gate.give_signature(self._peer_id, self._verification, *signed)
        except IroshError as error:
            say(error.message)
            return False
        return True


def hold_back_success(connection: Any, checked: Callable[[], Awaitable[bool]], complete: Callable[[], bool]) -> None:
    """Have ``connection`` report a method that succeeded as partial success while more are needed (RFC 4252, 5.1).

    The library knows logins by one method only. ``checked`` is awaited first, and says whether the method did succeed.
    """
    succeed = connection.send_userauth_success

    async def send_userauth_success() -> None:
        if not await checked():
            connection.send_userauth_failure(False)
        elif complete():
            await succeed()
        else:
            connection.send_userauth_failure(True)

    connection.send_userauth_success = send_userauth_success
