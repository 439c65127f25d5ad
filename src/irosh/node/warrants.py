"""Who gets in without being a peer, and on what terms: by ``authorized_keys``, or by a certificate."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from irosh.core.addresses import parse_ip
from irosh.core.authority_store import Authority
from irosh.core.authorized_keys import MAX_SIZE, AuthorizedKey, ed25519_public, parse_authorized_keys
from irosh.core.capability import Capability
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.second_factor import Factor
from irosh.core.ssh_certificate import Certificate, invalid, terms_of
from irosh.core.ssh_key import public_key_blob
from irosh.core.strict_file import StrictFile
from irosh.core.terms import Terms
from irosh.core.trust import TrustStore
from irosh.node.revoked_keys import RevokedKeys
from irosh.transport.interfaces import Path as NetworkPath

log = logging.getLogger(__name__)

FILE_ORIGIN, CERTIFICATE_ORIGIN = "authorized-keys", "certificate"
DIRECT_DEADLINE = 5.0  # seconds for a direct path to be found
LOOK_EVERY = 0.1
ORIGINS = frozenset({FILE_ORIGIN, CERTIFICATE_ORIGIN})
"""Of peers that were pinned only to have a name: they may do what the file or a certificate says at present."""


@dataclass(frozen=True)
class WarrantSettings:
    """``granted``: what a line of ``authorized_keys`` without options gives. ``keys``: the file, None for none."""

    own_user: str
    granted: tuple[Capability, ...]
    factors: tuple[Factor, ...] = ()
    """What is required of whoever gets in so."""
    keys: Path | None = None
    loopback_is_relayed: Callable[[], bool] = lambda: False
    """Whether what seems to come from this machine may come through a TURN server."""


class Warrants:
    """Looks everything up anew, so that a change of the file or the store holds at once."""

    def __init__(self, trust: TrustStore, settings: WarrantSettings, revoked: RevokedKeys | None = None) -> None:
        self._trust = trust
        self._settings = settings
        keys = settings.keys
        self._file = None if keys is None else StrictFile(keys, MAX_SIZE, partial(_parsed_keys, keys))
        self._complaint = ""
        self.revoked = revoked or RevokedKeys(None)
        self._shown: dict[str, Certificate] = {}

    @property
    def factors(self) -> tuple[Factor, ...]:
        """What is required, besides, of whoever gets in so."""
        return self._settings.factors

    def check_files(self) -> None:
        """Tell about bad lines in the log. ``IroshError`` when a file cannot be used."""
        if self._file is not None:
            self._file.read()
        self.revoked.check_file()

    def admission(self, peer_id: str, certificate: Certificate | None) -> tuple[str, str] | None:
        """By which origin, and as what to call it, an identity gets in; None when there is nothing that lets it.

        Its address is not looked at yet: a relay may be on the way at first. ``IroshError`` (certificate-invalid).
        """
        if (line := self._line(peer_id)) is not None:
            return FILE_ORIGIN, line.comment
        if certificate is not None and self._by_certificate(peer_id, certificate) is not None:
            return CERTIFICATE_ORIGIN, certificate.key_id
        return None

    def terms(self, peer_id: str, certificate: Certificate | None, paths: Sequence[NetworkPath]) -> Terms | None:
        """On what terms an identity may act now. ``IroshError``: certificate-invalid; denied for its address."""
        found = self._found(peer_id, certificate)
        if found is not None:
            self._check_address(found, paths)
            if certificate is not None:
                self._shown[peer_id] = certificate
        return found

    async def settled(
        self, peer_id: str, certificate: Certificate | None, paths: Callable[[], Sequence[NetworkPath]]
    ) -> None:
        """Wait, not for long, while only a relay's way leads to a peer that has to come from some address.

        Most connections begin at a relay and find their direct path within a second or two.
        """
        if self._file is None and certificate is None:
            return
        deadline = time.monotonic() + DIRECT_DEADLINE
        while time.monotonic() < deadline:
            try:
                found = self._found(peer_id, certificate)
            except IroshError:
                return  # which will be said when it is asked for
            if found is None or not found.sources or found.from_here(None) or None not in self._addresses(paths()):
                return
            await asyncio.sleep(LOOK_EVERY)

    def terms_at_rest(self, peer_id: str) -> Terms | None:
        """The same of a peer that need not be connected, by the certificate that it showed last, from anywhere."""
        return self._found(peer_id, self._shown.get(peer_id))

    def _found(self, peer_id: str, certificate: Certificate | None) -> Terms | None:
        line = self._line(peer_id)
        if line is not None:
            return self._terms_of_line(line)
        return None if certificate is None else self._by_certificate(peer_id, certificate)

    def _check_address(self, terms: Terms, paths: Sequence[NetworkPath]) -> None:
        if not terms.sources:
            return
        for address in self._addresses(paths):
            if not terms.from_here(address):
                where = "a relay" if address is None else address
                raise IroshError(
                    ErrorCode.DENIED,
                    f"{terms.origin} does not let this peer in from {where}",
                    "it has to come from where that says, by a direct path" if address is None else "",
                )

    def _addresses(self, paths: Sequence[NetworkPath]) -> set[str | None]:
        return {self._address(path) for path in paths if path.selected} or {None}

    def _address(self, path: NetworkPath) -> str | None:
        """Where the other end of the path is; None when that is not known."""
        if path.relayed:
            return None
        parsed = parse_ip(path.remote.rpartition(":")[0].strip("[]"))
        if parsed is None or (parsed.ip.is_loopback and self._settings.loopback_is_relayed()):
            return None
        return str(parsed.ip)

    # -- authorized_keys

    def _lines(self) -> list[AuthorizedKey]:
        if self._file is None:
            return []
        try:
            lines = self._file.read()
        except IroshError as error:
            if str(error) != self._complaint:  # said once
                self._complaint = str(error)
                log.error("%s", error)
            return []
        self._complaint = ""
        return lines

    def _line(self, peer_id: str) -> AuthorizedKey | None:
        """The first line with this identity as key that has not expired."""
        return self._live_line(public_key_blob(bytes.fromhex(peer_id)), authority=False)

    def _live_line(self, blob: bytes, *, authority: bool) -> AuthorizedKey | None:
        now = time.time()
        for line in self._lines():
            live = line.options.expires_at is None or now < line.options.expires_at
            if live and line.blob == blob and line.options.authority is authority:
                return line
        return None

    def _terms_of_line(self, line: AuthorizedKey) -> Terms:
        options = line.options
        return Terms(
            origin=f"line {line.number} of authorized_keys",
            capabilities=options.allowed.of(self._settings.granted),
            command=options.command,
            environment=dict(options.environment),
            pty=options.pty,
            expires_at=options.expires_at,
            sources=options.sources,
        )

    # -- certificates

    def _by_certificate(self, peer_id: str, certificate: Certificate) -> Terms | None:
        """None when no authority of this host made it. ``IroshError`` (certificate-invalid)."""
        if certificate.public != bytes.fromhex(peer_id):
            raise invalid("it is another identity's")
        if self.revoked.has_certificate(certificate):
            raise invalid("it was revoked")
        found = fingerprint(certificate.authority)
        if self._trust.authorities.is_revoked(certificate.serial, certificate.key_id, found):
            raise invalid("it was revoked")
        authority = self._trust.authorities.get(found)
        if authority is not None:
            return self._terms_by(authority, certificate)
        line = self._live_line(certificate.authority, authority=True)
        return None if line is None else self._terms_by_line(line, certificate)

    def _terms_by(self, authority: Authority, certificate: Certificate) -> Terms:
        return terms_of(
            certificate,
            authority.capabilities,
            principals=authority.principals,
            own_user=self._settings.own_user,
            now=time.time(),
        )

    def _terms_by_line(self, line: AuthorizedKey, certificate: Certificate) -> Terms:
        """Both the line's options and the certificate restrict."""
        options = line.options
        terms = terms_of(
            certificate,
            self._settings.granted,
            principals=options.principals,
            own_user=self._settings.own_user,
            now=time.time(),
            restrictions=options.allowed,
        )
        if options.command is not None and terms.command not in (None, options.command):
            raise invalid("its command is not that of authorized_keys")
        return replace(
            terms,
            command=options.command or terms.command,
            environment=dict(options.environment),
            pty=terms.pty and options.pty,
            sources=(*terms.sources, *options.sources),
        )


def fingerprint(blob: bytes) -> str:
    """Of a key in the form of SSH, as ``ssh-keygen -l`` shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _parsed_keys(path: Path, content: bytes) -> list[AuthorizedKey]:
    """The lines that can be used; the log says which cannot."""
    keys, refused = parse_authorized_keys(content.decode("utf-8", "replace"))
    for line in refused:
        log.warning("%s, line %d is refused: %s", path, line.number, line.reason)
    for key in keys:
        if not key.options.authority and ed25519_public(key.blob) is None:
            log.info("%s, line %d: a key that no identity can have", path, key.number)
    return keys
