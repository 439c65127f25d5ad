"""SOCKS 4, 4a and 5 as a server speaks them: bytes in, events and answers out. Pure.

SOCKS 5 is RFC 1928 without authentication (of RFC 1929's only that it is not offered); SOCKS 4 and 4a are the
documents of NEC and of Ying-Da Lee. A :class:`Handshake` never asks for a byte more than the request has, so what a
client sends behind it stays in the socket.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

from irosh.core.addresses import host_name, parse_ip
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.wording import quoted

MAX_USER_ID = 255  # bytes of SOCKS 4's user id, and of 4a's name

_PORT = struct.Struct(">H")
_NO_AUTHENTICATION, _NO_ACCEPTABLE = 0x00, 0xFF
_IPV4, _NAME, _IPV6 = 0x01, 0x03, 0x04


class Command(IntEnum):
    """What a client asks for."""

    CONNECT = 1
    BIND = 2
    UDP_ASSOCIATE = 3


class Reply(IntEnum):
    """SOCKS 5's answers, RFC 1928 section 6. SOCKS 4 knows two: granted and not."""

    SUCCEEDED = 0
    GENERAL_FAILURE = 1
    NOT_ALLOWED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    CONNECTION_REFUSED = 5
    TTL_EXPIRED = 6
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_TYPE_NOT_SUPPORTED = 8


@dataclass(frozen=True, slots=True)
class Request:
    """``host`` is an IP address or a name, which is for whoever connects to resolve."""

    version: int
    command: Command
    host: str
    port: int


class SocksError(Exception):
    """A client that does not speak SOCKS, or asks for what there is not. ``answer``: what to send it, if anything."""

    def __init__(self, message: str, answer: bytes = b"") -> None:
        super().__init__(message)
        self.answer = answer


class Handshake:
    """A client's side of the conversation up to its request.

    Read exactly :attr:`wanted` bytes, hand them to :meth:`feed`, send what it returns; until :attr:`request` is there.
    """

    def __init__(self) -> None:
        self.wanted = 1
        self.request: Request | None = None
        self._state: Callable[[bytes], bytes] = self._version
        self._user_id = 0
        self._name = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Take the next :attr:`wanted` bytes. Raises :class:`SocksError`."""
        assert len(data) == self.wanted
        return self._state(data)

    def _expect(self, wanted: int, state: Callable[[bytes], bytes]) -> None:
        self.wanted = wanted
        self._state = state

    def _version(self, data: bytes) -> bytes:
        if data == b"\x05":
            self._expect(1, self._method_count)
        elif data == b"\x04":
            self._expect(7, self._request4)
        else:
            # RFC 1928 has no answer for this; a version 5 failure is what a SOCKS client would understand.
            raise SocksError(f"not SOCKS: it begins with byte {data[0]:#04x}", bytes((5, _NO_ACCEPTABLE)))
        return b""

    # -- SOCKS 5

    def _method_count(self, data: bytes) -> bytes:
        if not data[0]:
            raise SocksError("no authentication method is offered", bytes((5, _NO_ACCEPTABLE)))
        self._expect(data[0], self._methods)
        return b""

    def _methods(self, data: bytes) -> bytes:
        if _NO_AUTHENTICATION not in data:
            raise SocksError("the client insists on authentication", bytes((5, _NO_ACCEPTABLE)))
        self._expect(5, self._request5)
        return bytes((5, _NO_AUTHENTICATION))

    def _request5(self, data: bytes) -> bytes:
        """Up to the first byte of the address, which is the length of a name."""
        version, command, _reserved, kind, first = data
        if version != 5:
            raise SocksError(f"version {version} inside SOCKS 5", answer5(Reply.GENERAL_FAILURE))
        self._command = command
        self._begun = bytes((first,))
        if kind == _IPV4:
            self._expect(3 + 2, self._ipv4)
        elif kind == _IPV6:
            self._expect(15 + 2, self._ipv6)
        elif kind == _NAME:
            self._expect(first + 2, self._long_name)
        else:
            raise SocksError(f"address type {kind}", answer5(Reply.ADDRESS_TYPE_NOT_SUPPORTED))
        return b""

    def _ipv4(self, data: bytes) -> bytes:
        return self._asked5(str(IPv4Address(self._begun + data[:-2])), data)

    def _ipv6(self, data: bytes) -> bytes:
        return self._asked5(str(IPv6Address(self._begun + data[:-2])), data)

    def _long_name(self, data: bytes) -> bytes:
        host = _host(data[:-2])
        if host is None:
            raise SocksError(f"{quoted(repr(data[:-2]))} is no host name", answer5(Reply.HOST_UNREACHABLE))
        return self._asked5(host, data)

    def _asked5(self, host: str, data: bytes) -> bytes:
        (port,) = _PORT.unpack(data[-2:])
        if self._command not in (Command.CONNECT, Command.UDP_ASSOCIATE):
            name = "BIND" if self._command == Command.BIND else str(self._command)
            raise SocksError(f"command {name} is not served", answer5(Reply.COMMAND_NOT_SUPPORTED))
        if self._command == Command.CONNECT and not port:
            raise SocksError("port 0 cannot be connected to", answer5(Reply.GENERAL_FAILURE))
        self.request = Request(5, Command(self._command), host, port)
        return b""

    # -- SOCKS 4 and 4a

    def _request4(self, data: bytes) -> bytes:
        command, (port,), address = data[0], _PORT.unpack(data[1:3]), data[3:]
        if command != Command.CONNECT:
            raise SocksError(f"SOCKS 4 command {command} is not served", answer4(granted=False))
        if not port:
            raise SocksError("port 0 cannot be connected to", answer4(granted=False))
        self._port = port
        # 0.0.0.x with x not 0: a name follows, which the client could not resolve (SOCKS 4a).
        self._address = None if address[:3] == b"\0\0\0" and address[3] else str(IPv4Address(address))
        self._expect(1, self._user)
        return b""

    def _user(self, data: bytes) -> bytes:
        if data != b"\0":
            self._user_id += 1
            if self._user_id > MAX_USER_ID:
                raise SocksError("the user id does not end", answer4(granted=False))
        elif self._address is None:
            self._expect(1, self._name4)
        else:
            self.request = Request(4, Command.CONNECT, self._address, self._port)
        return b""

    def _name4(self, data: bytes) -> bytes:
        if data != b"\0":
            self._name += data
            if len(self._name) > MAX_USER_ID:
                raise SocksError("the host name does not end", answer4(granted=False))
            return b""
        host = _host(bytes(self._name))
        if host is None:
            raise SocksError(f"{quoted(repr(bytes(self._name)))} is no host name", answer4(granted=False))
        self.request = Request(4, Command.CONNECT, host, self._port)
        return b""


def answer(request: Request, reply: Reply, bound: tuple[str, int] = ("0.0.0.0", 0)) -> bytes:  # noqa: S104 - unknown
    """The answer to ``request``; ``bound`` is the address that serves it here, where that is known."""
    if request.version == 4:
        return answer4(granted=reply is Reply.SUCCEEDED)
    return answer5(reply, bound)


def answer5(reply: Reply, bound: tuple[str, int] = ("0.0.0.0", 0)) -> bytes:  # noqa: S104 - unknown, as RFC 1928 has it
    """SOCKS 5's answer."""
    return bytes((5, reply, 0)) + _pack_address(*bound)


def answer4(*, granted: bool) -> bytes:
    """SOCKS 4's answer: request granted, or rejected or failed."""
    return bytes((0, 90 if granted else 91)) + bytes(6)


def reply_for(error: IroshError) -> Reply:
    """What SOCKS 5 calls ``error``."""
    match error.code:
        case ErrorCode.DENIED:
            return Reply.NOT_ALLOWED
        case ErrorCode.TARGET_REFUSED:
            return Reply.CONNECTION_REFUSED
        case ErrorCode.TARGET_UNREACHABLE:
            return Reply.HOST_UNREACHABLE
        case ErrorCode.CONNECTION_LOST | ErrorCode.UNREACHABLE | ErrorCode.NO_PATH | ErrorCode.TIMEOUT:
            return Reply.NETWORK_UNREACHABLE
    return Reply.GENERAL_FAILURE


def pack_datagram(host: str, port: int, payload: bytes) -> bytes:
    """A UDP packet with the header of RFC 1928 section 7: ``host`` and ``port`` are whom it is from (or for)."""
    return b"\0\0\0" + _pack_address(host, port) + payload


def parse_datagram(packet: bytes) -> tuple[str, int, bytes] | None:
    """Host, port and payload of a UDP packet from a client; None for nonsense and, as RFC 1928 allows, fragments."""
    if len(packet) < 5 or packet[:3] != b"\0\0\0":
        return None
    kind, rest = packet[3], packet[4:]
    if kind == _NAME:
        size, rest = rest[0], rest[1:]
    elif kind in (_IPV4, _IPV6):
        size = 4 if kind == _IPV4 else 16
    else:
        return None
    if len(rest) < size + _PORT.size:
        return None
    if kind == _NAME:
        host = _host(rest[:size])
    else:
        host = str(IPv4Address(rest[:size]) if kind == _IPV4 else IPv6Address(rest[:size]))
    (port,) = _PORT.unpack_from(rest, size)
    if host is None or not port:
        return None
    return host, port, rest[size + _PORT.size :]


def _pack_address(host: str, port: int) -> bytes:
    address = parse_ip(host)
    if address is None:
        name = host.encode("ascii")
        return bytes((_NAME, len(name))) + name + _PORT.pack(port)
    kind = _IPV4 if isinstance(address.ip, IPv4Address) else _IPV6
    return bytes((kind,)) + address.ip.packed + _PORT.pack(port)


def _host(name: bytes) -> str | None:
    """A host name, or an address that a client sent as one, as many do; None for anything else."""
    try:
        text = name.decode("ascii")
    except UnicodeDecodeError:
        return None
    address = parse_ip(text.strip("[]"))
    return str(address) if address is not None else host_name(text)
