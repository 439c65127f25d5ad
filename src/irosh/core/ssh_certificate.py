"""SSH user certificates (OpenSSH's PROTOCOL.certkeys): a key, and what a certificate authority says of it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from irosh.core.capability import Capability, is_user_name, parse_capability
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.security_key import ECDSA, ED25519, parse_key_blob, verify
from irosh.core.ssh_patterns import matches_list, parse_network
from irosh.core.ssh_wire import SshReader, SshWireError
from irosh.core.terms import Allowed, Terms
from irosh.core.wording import escape, quoted

KIND = "ssh-ed25519-cert-v01@openssh.com"
"""Of an identity, which is an Ed25519 key; the authority's key may be of another kind."""
MAX_SIZE = 8 * 1024
"""Bytes of a certificate that is looked at."""
SMALLEST_RSA = 2048

_USER, _HOST = 1, 2
_SHA1_SIGNATURE = b"ssh-rsa"
_FOREVER = 0xFFFF_FFFF_FFFF_FFFF


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says, its signature verified. Whether its authority is trusted is another question."""

    public: bytes
    """32 bytes: the identity that it is for."""
    serial: int
    key_id: str
    principals: tuple[str, ...]
    valid_after: float
    valid_before: float | None
    """Unix seconds; None: for ever."""
    command: str | None
    sources: str | None
    """Networks between commas."""
    extensions: frozenset[str]
    authority: bytes
    """The authority's key in the form of SSH."""


def parse_certificate(blob: bytes) -> Certificate:
    """A user certificate for an identity, in the form of SSH. ``IroshError`` (certificate-invalid) for all else."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        if len(blob) > MAX_SIZE:
            raise SshWireError("it is too long")
        certificate, signature, signed = _read(blob)
        _verify(blob, certificate.authority, signature, signed)
        return certificate
    except InvalidSignature:
        raise invalid("its signature is not its authority's") from None
    except UnsupportedAlgorithm as error:
        raise invalid(f"it cannot be verified here: {escape(str(error), 100)}") from None
    except (ValueError, UnicodeDecodeError, OverflowError) as error:
        raise invalid(escape(str(error), 100) or "it is malformed") from None


def certificate_blob(line: str) -> bytes:
    """The certificate in a line of a ``-cert.pub`` file. ``IroshError`` (certificate-invalid)."""
    words = line.split()
    try:
        if len(words) < 2 or words[0] != KIND:
            raise ValueError
        return base64.b64decode(words[1], validate=True)
    except (ValueError, binascii.Error):
        raise IroshError(
            ErrorCode.CERTIFICATE_INVALID,
            f"that is no certificate of an identity; it would begin with {KIND}",
            "ssh-keygen -s CA -I ID -n PRINCIPAL identity.pub makes identity-cert.pub",
        ) from None


def invalid(reason: str) -> IroshError:
    """The certificate is no good for ``reason``."""
    return IroshError(ErrorCode.CERTIFICATE_INVALID, f"the certificate is not accepted: {reason}")


def terms_of(
    certificate: Certificate,
    granted: Iterable[Capability],
    *,
    principals: str | None,
    own_user: str,
    now: float,
    restrictions: Allowed = Allowed(),  # noqa: B008 - frozen
) -> Terms:
    """What the certificate lets its bearer do of what its authority may grant. ``IroshError`` (certificate-invalid).

    ``principals``: patterns of which the certificate must name one; None: it must name ``own_user``, the user that the
    host runs as. ``restrictions``: what a line of ``authorized_keys`` says of the authority besides.
    """
    if now < certificate.valid_after:
        raise invalid("it is not valid yet")
    if certificate.valid_before is not None and now >= certificate.valid_before:
        raise invalid("it has expired")
    wanted = own_user if principals is None else principals
    if not any(
        matches_list(name, wanted) if principals is not None else name == own_user for name in certificate.principals
    ):
        raise invalid(f"it is for {_named(certificate.principals)}, not for {quoted(wanted)}")
    permitted = certificate.extensions
    allowed = Allowed(
        forwarding="permit-port-forwarding" in permitted and restrictions.forwarding,
        agent="permit-agent-forwarding" in permitted and restrictions.agent,
        command=certificate.command is not None or restrictions.command,
        opens=restrictions.opens,
        listens=restrictions.listens,
    )
    capabilities = [each for each in allowed.of(granted) if each.kind != "user"]
    names = [name for name in certificate.principals if is_user_name(name)]
    if principals is not None:
        names = [name for name in names if matches_list(name, principals)]
    return Terms(
        origin=f"certificate {quoted(certificate.key_id)}, serial {certificate.serial}",
        capabilities=(*capabilities, *(parse_capability(f"user:{name}") for name in names)),
        command=certificate.command,
        pty="permit-pty" in permitted,
        expires_at=certificate.valid_before,
        sources=() if certificate.sources is None else (certificate.sources,),
        own_account=own_user in certificate.principals,
    )


def _named(principals: tuple[str, ...]) -> str:
    return ", ".join(quoted(name) for name in principals[:5]) or "nobody: it names no principal"


def _read(blob: bytes) -> tuple[Certificate, bytes, bytes]:
    """What it says, its signature, and what is signed."""
    reader = SshReader(blob)
    if reader.string() != KIND.encode():
        raise SshWireError("it is for another kind of key")
    reader.string()  # nonce
    public, serial, kind = reader.string(), reader.uint64(), reader.uint32()
    if len(public) != 32:
        raise SshWireError("its key is no Ed25519 key")
    if kind != _USER:
        raise SshWireError("it is a host's" if kind == _HOST else "it is neither a user's nor a host's")
    key_id, principals = reader.string().decode(), tuple(name.decode() for name in _strings(reader.string()))
    after, before = reader.uint64(), reader.uint64()
    command, sources = _critical(_options(reader.string()))
    extensions = frozenset(name.decode() for name in _options(reader.string()))
    reader.string()  # reserved
    authority = reader.string()
    signed = blob[: reader.position]
    signature = reader.string()
    reader.finish()
    valid_before = None if before == _FOREVER else float(before)
    return (
        Certificate(
            public, serial, key_id, principals, float(after), valid_before, command, sources, extensions, authority
        ),
        signature,
        signed,
    )


def _verify(blob: bytes, authority: bytes, signature: bytes, signed: bytes) -> None:
    """``InvalidSignature``, ``UnsupportedAlgorithm`` or ``ValueError`` unless the authority made the signature."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import ssh

    if SshReader(signature).string() == _SHA1_SIGNATURE:
        raise SshWireError("it is signed with SHA-1")
    if SshReader(authority).string().decode() in (ED25519, ECDSA):
        if verify(parse_key_blob(authority), signed, signature) is None:
            raise InvalidSignature
        return
    found = ssh.load_ssh_public_identity(f"{KIND} ".encode() + base64.b64encode(blob))
    if not isinstance(found, ssh.SSHCertificate):
        raise SshWireError("it is a key without a certificate")
    signer = found.signature_key()
    if isinstance(signer, rsa.RSAPublicKey) and signer.key_size < SMALLEST_RSA:
        raise SshWireError("its authority's RSA key is too small")
    found.verify_cert_signature()


def _options(data: bytes) -> dict[bytes, bytes]:
    """Names with their values, each name once; a value is a string in a string."""
    reader, options = SshReader(data), dict[bytes, bytes]()
    while not reader.at_end:
        name, value = reader.string(), SshReader(reader.string())
        if name in options:
            raise SshWireError(f"it has {quoted(name.decode(errors='replace'))} twice")
        options[name] = b"" if value.at_end else value.string()
        value.finish()
    return options


def _strings(data: bytes) -> Iterator[bytes]:
    reader = SshReader(data)
    while not reader.at_end:
        yield reader.string()


def _critical(options: dict[bytes, bytes]) -> tuple[str | None, str | None]:
    """``force-command`` and ``source-address``. ``ValueError`` for others, which may restrict in ways unknown here."""
    values = {}
    for name, data in options.items():
        if name not in (b"force-command", b"source-address"):
            raise SshWireError(f"it has the critical option {quoted(name.decode(errors='replace'))}")
        values[name] = bytes(data).decode()
    sources = values.get(b"source-address")
    if sources is not None:
        for network in sources.split(","):
            parse_network(network)
    return values.get(b"force-command"), sources
