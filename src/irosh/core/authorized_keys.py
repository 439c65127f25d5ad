"""``authorized_keys`` as sshd(8) reads it: keys, and options about what each may do. Pure.

An option that is not known refuses its line, as sshd does: it may be a restriction. Options about what irosh does not
have (X11, tun devices, ~/.ssh/rc) are read and change nothing.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from irosh.core.capability import Capability, parse_capability
from irosh.core.errors import IroshError
from irosh.core.ssh_patterns import matches_address_list
from irosh.core.ssh_wire import SshReader, SshWireError
from irosh.core.terms import Allowed
from irosh.core.wording import quoted

MAX_SIZE = 1024 * 1024
"""Bytes of a file that is read."""
MAX_LINE = 16 * 1024
KEY_TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)

_FLAGS_WITHOUT_EFFECT = ("x11-forwarding", "user-rc", "touch-required")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}", re.ASCII)
_LOOPBACK = ("127.0.0.0/8", "[::1]")


class LineError(ValueError):
    """Why a line is refused."""


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """What stands before the key."""

    allowed: Allowed = field(default_factory=Allowed)
    command: str | None = None
    environment: tuple[tuple[str, str], ...] = ()
    pty: bool = True
    expires_at: float | None = None
    sources: tuple[str, ...] = ()
    authority: bool = False
    """The key is that of a certificate authority."""
    principals: str | None = None
    """A list of patterns; with ``authority`` only."""


@dataclass(frozen=True, slots=True)
class AuthorizedKey:
    """One line."""

    number: int
    kind: str
    blob: bytes
    """The key in the form of SSH."""
    options: KeyOptions
    comment: str = ""


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line that lets nobody in, and why."""

    number: int
    reason: str


def parse_authorized_keys(text: str) -> tuple[list[AuthorizedKey], list[RefusedLine]]:
    """All lines but empty ones and comments: those that can be used, and those that are refused."""
    keys: list[AuthorizedKey] = []
    refused: list[RefusedLine] = []
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip(" \t\r")
        if not stripped or stripped.startswith("#"):
            continue
        try:
            keys.append(parse_line(stripped, number))
        except LineError as error:
            refused.append(RefusedLine(number, str(error)))
    return keys, refused


def parse_line(line: str, number: int = 1) -> AuthorizedKey:
    """One line that is neither empty nor a comment. :class:`LineError`."""
    if len(line) > MAX_LINE:
        raise LineError(f"it is longer than {MAX_LINE} characters")
    options, rest = KeyOptions(), line
    if line.split(None, 1)[0] not in KEY_TYPES:
        words, rest = _split_options(line)
        options = _options(words)
    fields = rest.split(None, 2)
    if len(fields) < 2 or fields[0] not in KEY_TYPES:
        raise LineError("there is no key of a known type")
    blob = _key_blob(fields[0], fields[1])
    return AuthorizedKey(number, fields[0], blob, options, fields[2] if len(fields) > 2 else "")


def ed25519_public(blob: bytes) -> bytes | None:
    """The 32 bytes of an Ed25519 key, which are an identity; None for another kind of key."""
    reader = SshReader(blob)
    try:
        if reader.string() != b"ssh-ed25519":
            return None
        public = reader.string()
        reader.finish()
    except SshWireError:
        return None
    return public if len(public) == 32 else None


def _key_blob(kind: str, text: str) -> bytes:
    try:
        blob = base64.b64decode(text, validate=True)
        named = SshReader(blob).string()
    except (binascii.Error, ValueError):
        raise LineError("the key is not base64, or cut short") from None
    if named != kind.encode() or (kind == "ssh-ed25519" and ed25519_public(blob) is None):
        raise LineError("the key is not of the type that stands before it")
    return blob


def _split_options(line: str) -> tuple[list[tuple[str, str | None]], str]:
    """The options, each with its value, and what follows them. Commas and blanks within quotes belong to a value."""
    found: list[tuple[str, str | None]] = []
    position = 0
    while True:
        start = position
        while position < len(line) and line[position] not in ' \t,="':
            position += 1
        name, value = line[start:position], None
        if line[position : position + 1] == "=":
            value, position = _quoted(line, position + 1, name)
        if not name:
            raise LineError("there is an option without a name")
        found.append((name.lower(), value))
        follows = line[position : position + 1]
        if follows == ",":
            position += 1
        elif follows in (" ", "\t"):
            return found, line[position:].lstrip(" \t")
        else:
            raise LineError(f"nothing may follow option {quoted(name)} but a comma and the next, or the key")


def _quoted(line: str, position: int, name: str) -> tuple[str, int]:
    r"""The value in quotes, in which ``\"`` is a quote, and where it ends."""
    if line[position : position + 1] != '"':
        raise LineError(f"the value of option {quoted(name)} is not in quotes")
    value: list[str] = []
    position += 1
    while position < len(line):
        if line.startswith('\\"', position):
            value.append('"')
            position += 2
        elif line[position] == '"':
            return "".join(value), position + 1
        else:
            value.append(line[position])
            position += 1
    raise LineError(f"the quotes of option {quoted(name)} do not end")


def _options(words: list[tuple[str, str | None]]) -> KeyOptions:
    options = KeyOptions()
    for name, value in words:
        options = _with_flag(options, name) if value is None else _with_value(options, name, value)
    if options.principals is not None and not options.authority:
        raise LineError("principals= is for a cert-authority")
    return options


def _with_flag(options: KeyOptions, name: str) -> KeyOptions:
    positive = not name.startswith("no-")
    match name.removeprefix("no-"):
        case "pty":
            return replace(options, pty=positive)
        case "port-forwarding":
            return replace(options, allowed=replace(options.allowed, forwarding=positive))
        case "agent-forwarding":
            return replace(options, allowed=replace(options.allowed, agent=positive))
        case flag if flag in _FLAGS_WITHOUT_EFFECT and name != "touch-required":
            return options
    match name:
        case "restrict":
            return replace(options, pty=False, allowed=replace(options.allowed, forwarding=False, agent=False))
        case "cert-authority":
            return replace(options, authority=True)
        case "verify-required":
            return options  # of a security key, which no identity is
    raise LineError(f"option {quoted(name)} is not known")


def _with_value(options: KeyOptions, name: str, value: str) -> KeyOptions:
    allowed = options.allowed
    match name:
        case "command":
            if options.command is not None:
                raise LineError("there are two commands")
            return replace(options, command=value, allowed=replace(allowed, command=True))
        case "from":
            _check_sources(value)
            return replace(options, sources=(*options.sources, value))
        case "environment":
            variable, equals, content = value.partition("=")
            if not equals or not _VARIABLE.fullmatch(variable) or "\0" in content:
                raise LineError(f"environment {quoted(value)} is not NAME=VALUE")
            return replace(options, environment=(*options.environment, (variable, content)))
        case "permitopen":
            return replace(options, allowed=replace(allowed, opens=(*(allowed.opens or ()), *_opens(value))))
        case "permitlisten":
            return replace(options, allowed=replace(allowed, listens=(*(allowed.listens or ()), *_listens(value))))
        case "expiry-time":
            expiry = parse_expiry(value)
            earliest = expiry if options.expires_at is None else min(expiry, options.expires_at)
            return replace(options, expires_at=earliest)
        case "principals":
            if options.principals is not None or not value:
                raise LineError("there are principals twice, or none")
            return replace(options, principals=value)
        case "tunnel":
            return options
    raise LineError(f"option {quoted(name)} is not known")


def _check_sources(patterns: str) -> None:
    try:
        if not patterns:
            raise ValueError("it is empty")
        matches_address_list("192.0.2.1", patterns)
    except ValueError as error:
        raise LineError(f"from={quoted(patterns)}: {error}") from None


def _opens(value: str) -> Iterator[Capability]:
    host, port = _host_and_port(value, "permitopen")
    if host is None:
        raise LineError(f"permitopen {quoted(value)} names no host")
    # As `ssh -L` with "localhost": whichever loopback address it has.
    for spelled in _LOOPBACK if host == "localhost" else (host,):
        yield _capability(f"forward:tcp://{spelled}:{port}", value)


def _listens(value: str) -> Iterator[Capability]:
    host, port = _host_and_port(value, "permitlisten")
    for spelled in _LOOPBACK if host in (None, "localhost") else (host,):
        yield _capability(f"listen:tcp://{spelled}:{port}", value)


def _host_and_port(value: str, name: str) -> tuple[str | None, str]:
    host, colon, port = value.rpartition(":")
    if not (port == "*" or (port.isascii() and port.isdecimal())) or (colon and not host):
        raise LineError(f"{name} {quoted(value)} is not {'[HOST:]' if name == 'permitlisten' else 'HOST:'}PORT")
    return host.lower() if colon else None, port


def _capability(text: str, value: str) -> Capability:
    try:
        return parse_capability(text)
    except IroshError as error:
        raise LineError(f"{quoted(value)}: {error.message}") from None


def parse_expiry(text: str) -> float:
    """``YYYYMMDD[HHMM[SS]]``, in this machine's time zone or with ``Z`` in UTC, as Unix seconds. :class:`LineError`."""
    digits, utc = text.removesuffix("Z"), text.endswith("Z")
    form = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}.get(len(digits))
    try:
        if form is None or not (digits.isascii() and digits.isdecimal()):
            raise ValueError
        parsed = datetime.strptime(digits, form)
        return (parsed.replace(tzinfo=UTC) if utc else parsed.astimezone()).timestamp()
    except (ValueError, OverflowError, OSError):
        raise LineError(f"expiry-time {quoted(text)} is not YYYYMMDD[HHMM[SS]][Z]") from None
