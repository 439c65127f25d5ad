"""Host keys of ordinary SSH servers, checked and remembered where OpenSSH does."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from irosh.core.edited_file import change_own_file, read_own_file
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.ssh_settings import ACCEPT_NEW, STRICT, SshSettings
from irosh.core.wording import escape
from irosh.node.questions import Questions

log = logging.getLogger(__name__)

Trusted = tuple[list[asyncssh.SSHKey], list[asyncssh.SSHKey], list[asyncssh.SSHKey]]
"""Host keys, keys of certification authorities, and revoked keys."""


@dataclass(frozen=True)
class KnownHosts:
    """What is known of one host. ``questions``: whom to ask about a key nobody knows."""

    settings: SshSettings
    questions: Questions | None
    accept_new: bool

    async def trusted(self) -> Trusted:
        """The keys of the host in all files. ``IroshError`` (invalid-config) for a file that cannot be read."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> Trusted:
        settings = self.settings
        files = [path for path in (*settings.user_known_hosts, *settings.global_known_hosts) if Path(path).is_file()]
        port = None if settings.host_key_alias else settings.port
        found: Trusted = ([], [], [])
        for path in files:
            try:
                # Address and port take no part where OpenSSH would not look at them either.
                matched = asyncssh.read_known_hosts(path).match(settings.host_key_alias or settings.hostname, "", port)
            except (OSError, ValueError) as error:
                raise IroshError(ErrorCode.INVALID_CONFIG, f"cannot read {path}: {error}") from None
            for keys, more in zip(found, matched[:3], strict=False):
                keys += [key for key in more if key not in keys]
        return found

    async def accept(self, key: asyncssh.SSHKey, known: Trusted) -> None:
        """Decide about a ``key`` that is not among those ``known``; remember it if it is accepted.

        ``IroshError`` (identity-mismatch) when it is not to be trusted.
        """
        name, kind = self.settings.known_as, key.algorithm.decode(errors="replace")
        fingerprint = key.get_fingerprint()
        if key in known[2]:
            raise IroshError(ErrorCode.IDENTITY_MISMATCH, f"the host key of {name} was revoked; nothing was sent to it")
        if known[0]:
            raise IroshError(
                ErrorCode.IDENTITY_MISMATCH,
                f"the host key of {name} is another one than before: {kind} {fingerprint}; nothing was sent to it",
                f"if it is known to have changed: ssh-keygen -R '{name}'",
            )
        if self.accept_new or self.settings.strict_host_key_checking in ACCEPT_NEW:
            await self._remember(key)
            return
        hint = "put it into known_hosts, or use --accept-new"
        if self.settings.strict_host_key_checking in STRICT or self.questions is None:
            raise IroshError(
                ErrorCode.IDENTITY_MISMATCH, f"the host key of {name} is not known: {kind} {fingerprint}", hint
            )
        question = (
            f"The authenticity of {escape(name, 200)} cannot be established.\n"
            f"{kind} key fingerprint is {fingerprint}.\n"
            "Connect nevertheless, and trust this key from now on (yes/no/[fingerprint])?"
        )
        if not await self.questions.confirm_or_name(question, fingerprint):
            raise IroshError(ErrorCode.IDENTITY_MISMATCH, f"the host key of {name} was not accepted", hint)
        await self._remember(key)

    async def _remember(self, key: asyncssh.SSHKey) -> None:
        if not self.settings.user_known_hosts:
            return
        path = Path(self.settings.user_known_hosts[0])
        line = f"{self._name()} {key.export_public_key().decode().strip()}\n".encode()
        try:
            await asyncio.to_thread(_append, path, line)
        except (IroshError, OSError) as error:
            log.warning("cannot remember the host key of %s: %s", self.settings.known_as, error)

    def _name(self) -> str:
        name = self.settings.known_as
        if not self.settings.hash_known_hosts:
            return name
        salt = os.urandom(20)
        digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
        return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def _append(path: Path, line: bytes) -> None:
    if str(path) == os.devnull:
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    content, status = read_own_file(path)
    if content and not content.endswith(b"\n"):
        content += b"\n"
    change_own_file(path, content + line, status, None)
