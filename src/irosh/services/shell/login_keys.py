"""Which keys the SSH server of a stream asks for, besides what QUIC has proven."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

import asyncssh

from irosh.core.identity import openssh_public_key_of
from irosh.services.shell.messages import ShellRequest

KeyCheck = Callable[[asyncssh.SSHKey], bool]


def required_key(request: ShellRequest, peer_id: str) -> KeyCheck | None:
    """A check for what the opener of the stream asked for; None: it vouches for whoever uses the stream."""
    if request.login_keys:
        digests = request.login_keys
        return lambda key: _is_among(hashlib.sha256(key.public_data).digest(), digests)
    if request.key_auth:
        identity = asyncssh.import_public_key(openssh_public_key_of(peer_id))
        return lambda key: key == identity
    return None


def _is_among(digest: bytes, digests: tuple[bytes, ...]) -> bool:
    return any(hmac.compare_digest(digest, each) for each in digests)
