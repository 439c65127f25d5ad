"""The text form of one socket address: ``tcp://127.0.0.1:22``, ``udp://[::1]:53``, ``unix:///run/app.sock``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from irosh.core.addresses import host_name, parse_ip
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.wording import did_you_mean, escape, quoted

Protocol = Literal["tcp", "udp", "unix"]
PROTOCOLS: tuple[Protocol, ...] = ("tcp", "udp", "unix")
LONGEST_PATH = 4096
"""Characters. Longer than any system accepts for a socket; a bound for whoever sends us one."""

_PORT = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class SocketSpec:
    """One socket address. ``host`` and ``port`` for ``tcp`` and ``udp``, ``path`` for ``unix``.

    ``host`` is an IP address (IPv6 without brackets) or a host name. ``str()`` gives the canonical text,
    which :func:`parse_source` reads back.
    """

    protocol: Protocol
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.protocol == "unix":
            return f"unix://{self.path}"
        return f"{self.protocol}://{bracketed(self.host)}:{self.port}"


class Fault(Exception):
    """What is wrong with a part of a text. The parser that knows the whole makes it an ``IroshError``."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def parse_source(text: str) -> SocketSpec:
    """Parse one socket address. Raises ``IroshError(INVALID_ADDRESS)``, naming the part at fault.

    Host names are lower-cased; an IPv4-mapped IPv6 address becomes the IPv4 address it is.
    """
    return _parse(text, parse_port)


def parse_listen(text: str) -> SocketSpec:
    """As :func:`parse_source`, for an address to listen on: port 0 is any free one."""
    return _parse(text, lambda port: 0 if port == "0" else parse_port(port))


def with_loopback(listen: str) -> str:
    """``2222`` and ``:2222`` as an address of loopback, as with ``ssh -L``; anything else as it is."""
    return f"127.0.0.1:{listen.lstrip(':')}" if listen.lstrip(":").isdecimal() else listen


def _parse(text: str, read_port: Callable[[str], int]) -> SocketSpec:
    try:
        protocol, rest = split_protocol(text)
        if protocol == "unix":
            return SocketSpec("unix", path=parse_path(rest))
        host, port = split_host_port(rest)
        return SocketSpec(protocol, parse_host(host), read_port(port))
    except Fault as fault:
        raise IroshError(ErrorCode.INVALID_ADDRESS, f"address {quoted(text)}: {fault.message}", fault.hint) from None


def bracketed(host: str) -> str:
    """``host`` as it stands before a port: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def split_protocol(text: str) -> tuple[Protocol, str]:
    """``tcp://rest`` → ``("tcp", "rest")``. Raises :class:`Fault`."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        example = "unix:///run/app.sock" if text.startswith("/") else "tcp://127.0.0.1:22"
        raise Fault("it does not begin with tcp://, udp:// or unix://", f"write it like {example}")
    for protocol in PROTOCOLS:
        if scheme == protocol:
            return protocol, rest
    raise Fault(f"unknown protocol {quoted(scheme)}", did_you_mean(scheme, PROTOCOLS))


def split_host_port(text: str) -> tuple[str, str]:
    """``host:port`` → its two parts, the host with its brackets if it has any. Raises :class:`Fault`."""
    if text.startswith("["):
        inside, bracket, after = text.partition("]")
        if not bracket:
            raise Fault("the bracket '[' is not closed", "write an IPv6 address like [::1]:22")
        if not after.startswith(":"):
            raise Fault("there is no port after ']'", "write an IPv6 address like [::1]:22")
        return f"{inside}]", after[1:]
    host, colon, port = text.rpartition(":")
    if not colon:
        raise Fault("there is no port", f"write {text}:PORT" if host_name(text) else "end it with :PORT")
    if ":" in host:
        raise Fault(f"{quoted(text)} has several colons", "put an IPv6 address in brackets, like [::1]:22")
    return host, port


def parse_host(text: str) -> str:
    """A canonical IP address (no brackets) or host name from its text form. Raises :class:`Fault`."""
    if text.startswith("["):
        spelled = text[1:-1]
        address = parse_ip(spelled)
        if address is None or ":" not in spelled:
            raise Fault(f"{quoted(spelled)} is not an IPv6 address", "brackets are for IPv6, like [::1]")
        if "%" in spelled and not address.zone:
            raise Fault(f"{quoted(spelled)} has a zone but is not link-local", "leave out % and what follows")
        return str(address)
    address = parse_ip(text)
    return str(address) if address is not None else parse_name(text)


def parse_name(text: str) -> str:
    """A canonical host name. Raises :class:`Fault` with the most likely reason."""
    name = host_name(text)
    if name is not None:
        return name
    if not text:
        raise Fault("the host is missing", "127.0.0.1 is this machine")
    if not text.isascii():
        raise Fault(f"host {quoted(text)} is not ASCII", "write an international name in its xn-- form")
    if "*" in text or "/" in text:
        raise Fault(f"{quoted(text)} does not name one host", "write one address or one host name")
    if host_name(f"{text.removesuffix('.')}.x") is not None:
        raise Fault(f"{quoted(text)} is not an IPv4 address", "write four decimal numbers, like 127.0.0.1")
    raise Fault(f"{quoted(text)} is not a host name", "letters, digits, '-' and '.', at most 253 characters")


def parse_port(text: str) -> int:
    """A port from 1 to 65535. Raises :class:`Fault`."""
    if not _PORT.fullmatch(text):
        raise Fault(f"port {quoted(text)} is not a number" if text else "the port is missing", "1 to 65535")
    if not 1 <= int(text) <= 65_535:
        raise Fault(f"port {text} is out of range", "1 to 65535")
    return int(text)


def path_segments(text: str, absolute: str) -> list[str]:
    """The segments of an absolute path, but for empty ones and ``.``. Raises :class:`Fault`.

    ``absolute``: the hint for a path that is not.
    """
    if not text.startswith("/"):
        raise Fault(f"path {quoted(text)} is not absolute", absolute)
    if len(text) > LONGEST_PATH:
        raise Fault(f"the path is longer than {LONGEST_PATH} characters")
    if not text.isprintable():
        # Control characters, line and paragraph separators, what reorders text, lone surrogates.
        raise Fault(f"path {quoted(text)} holds a character that cannot be printed")
    segments = [segment for segment in text.split("/") if segment not in ("", ".")]
    if ".." in segments:
        # What '..' means depends on symbolic links, so it cannot be removed here without following them.
        raise Fault(f"path {quoted(text)} holds '..'", "write the path without it")
    return segments


def parse_path(text: str) -> str:
    """An absolute path of a Unix socket, without empty and ``.`` segments. Raises :class:`Fault`."""
    segments = path_segments(text, f"write unix:///{escape(text, 80)}")
    if not segments or text.endswith(("/", "/.")):
        raise Fault(f"path {quoted(text)} names a directory", "name the socket itself")
    return "/" + "/".join(segments)
