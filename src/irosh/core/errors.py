"""Every failure a person can meet, with a stable code, a message and a hint.

The codes are a contract: they appear in ``--json`` output, on the wire and in ``docs/errors.md``.
"""

from __future__ import annotations

import os
from enum import StrEnum

from irosh.core.wording import printable

_LONGEST = 2000  # characters of a message, or of a hint, that comes from elsewhere


class ErrorCode(StrEnum):
    """Stable machine-readable names of failures."""

    # what the user typed
    USAGE = "usage"
    INVALID_TICKET = "invalid-ticket"
    TICKET_VERSION = "ticket-version"
    INVALID_BLOCK = "invalid-block"
    BLOCK_VERSION = "block-version"
    BLOCK_EXPIRED = "block-expired"
    BLOCK_MISMATCH = "block-mismatch"
    INVALID_CAPABILITY = "invalid-capability"
    INVALID_ADDRESS = "invalid-address"
    INVALID_CONFIG = "invalid-config"
    UNKNOWN_TARGET = "unknown-target"
    NAME_TAKEN = "name-taken"
    # this machine
    KEY_UNSAFE = "key-unsafe"
    KEY_INVALID = "key-invalid"
    STATE_IN_USE = "state-in-use"
    STATE_UNUSABLE = "state-unusable"
    DISK_FULL = "disk-full"
    NOT_RUNNING = "not-running"
    BIND_FAILED = "bind-failed"
    PORT_TAKEN = "port-taken"
    VPN_UNAVAILABLE = "vpn-unavailable"
    ADDRESS_CONFLICT = "address-conflict"
    PROGRAM_MISSING = "program-missing"
    MOUNT_FAILED = "mount-failed"
    FILE = "file-error"
    TRANSFER_INCOMPLETE = "transfer-incomplete"
    # reaching the peer
    UNREACHABLE = "unreachable"
    IDENTITY_MISMATCH = "identity-mismatch"
    RELAY_UNREACHABLE = "relay-unreachable"
    RELAY_DENIED = "relay-denied"
    TURN_UNREACHABLE = "turn-unreachable"
    TURN_DENIED = "turn-denied"
    NO_PATH = "no-path"
    STUN_UNREACHABLE = "stun-unreachable"
    STUN_INVALID = "stun-invalid"
    CONNECTION_LOST = "connection-lost"
    CLOSED = "closed"
    SESSION_UNKNOWN = "session-unknown"
    TIMEOUT = "timeout"
    CLOCK_SKEW = "clock-skew"
    # what the peer says
    UNKNOWN_PEER = "unknown-peer"
    BLOCKED = "blocked"
    REVOKED = "revoked"
    INVITE_INVALID = "invite-invalid"
    INVITE_EXPIRED = "invite-expired"
    INVITE_USED = "invite-used"
    CERTIFICATE_INVALID = "certificate-invalid"
    DENIED = "denied"
    FACTOR_REQUIRED = "factor-required"
    FACTOR_FAILED = "factor-failed"
    FACTOR_LOCKED = "factor-locked"
    UNKNOWN_SERVICE = "unknown-service"
    PROTOCOL = "protocol-error"
    BUSY = "busy"
    TARGET_REFUSED = "target-refused"
    TARGET_UNREACHABLE = "target-unreachable"
    SHUTTING_DOWN = "shutting-down"
    INTERNAL = "internal"


def system_message(error: OSError) -> str:
    """The operating system's words for ``error``; asyncio puts its own, with addresses, in their place."""
    return os.strerror(error.errno) if error.errno else error.strerror or str(error)


class IroshError(Exception):
    """A failure with a stable ``code``, a one-line ``message`` and, where there is one, a ``hint`` on what to do."""

    def __init__(self, code: ErrorCode, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def to_dict(self) -> dict[str, str]:
        """The ``error`` object of ``--json`` output."""
        return {"code": str(self.code), "message": self.message, "hint": self.hint}

    @classmethod
    def from_dict(cls, fields: object) -> IroshError:
        """Rebuild an error that came from another process; unknown codes become ``internal``.

        A peer may have worded it, and people will see it on their terminals: it comes without control characters.
        """
        if not isinstance(fields, dict):
            return cls(ErrorCode.PROTOCOL, "the other side sent a malformed error")
        try:
            code = ErrorCode(str(fields.get("code", "")))
        except ValueError:
            code = ErrorCode.INTERNAL
        message = printable(str(fields.get("message", "unknown error")), _LONGEST)
        return cls(code, message, printable(str(fields.get("hint", "")), _LONGEST))
