"""The keys and certificates that a host takes from nobody any more: sshd's ``RevokedKeys``."""

from __future__ import annotations

import logging
from pathlib import Path

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.revocation_list import MAX_SIZE, RevocationList, parse_revocation_list
from irosh.core.ssh_certificate import Certificate
from irosh.core.ssh_key import public_key_blob
from irosh.core.strict_file import StrictFile

log = logging.getLogger(__name__)


class RevokedKeys:
    """Looked up anew, so that a change of the file holds at once. ``path`` None: nothing is revoked.

    A file that cannot be read, or not whole, lets nobody in: who is in it is not known then.
    """

    def __init__(self, path: Path | None) -> None:
        self._file = None if path is None else StrictFile(path, MAX_SIZE, lambda content: _parsed(path, content))
        self._complaint = ""

    def check_file(self) -> None:
        """``IroshError`` when the file cannot be used."""
        if self._file is not None:
            self._file.read()

    def check(self, peer_id: str) -> None:
        """``IroshError`` (revoked) when this identity's key is not taken any more, or nobody knows."""
        if self.has_key(public_key_blob(bytes.fromhex(peer_id))):
            raise IroshError(ErrorCode.REVOKED, "this host's list of revoked keys has your key", "ask its owner")

    def has_key(self, blob: bytes) -> bool:
        """Whether a key, in the form of SSH, is not taken any more. ``IroshError`` (revoked) when nobody knows."""
        return self._list().has_key(blob)

    def has_certificate(self, certificate: Certificate) -> bool:
        """Whether it, its key or its authority is not taken any more. ``IroshError`` (revoked) when nobody knows."""
        key = public_key_blob(certificate.public)
        return self._list().has_certificate(key, certificate.serial, certificate.key_id, certificate.authority)

    def _list(self) -> RevocationList:
        if self._file is None:
            return _NOTHING
        try:
            found = self._file.read()
        except IroshError as error:
            if str(error) != self._complaint:  # said once
                self._complaint = str(error)
                log.error("nobody is let in: %s", error)
            raise IroshError(
                ErrorCode.REVOKED, "this host cannot read its list of revoked keys", "its log says why; ask its owner"
            ) from None
        self._complaint = ""
        return found


_NOTHING = RevocationList()


def _parsed(path: Path, content: bytes) -> RevocationList:
    try:
        return parse_revocation_list(content)
    except ValueError as error:
        raise IroshError(
            ErrorCode.USAGE, f"{path} is no list of revoked keys: {error}", "public keys, or a KRL of ssh-keygen -k"
        ) from None
