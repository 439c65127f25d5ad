"""Who is at the other end of a local socket: the Unix user, as the kernel knows it."""

from __future__ import annotations

import os
import socket
import struct
import sys
from contextlib import suppress

from irosh.core.addresses import parse_ip

# linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
_REQUEST = struct.Struct("=BBBBI")  # family, protocol, extensions, padding, states
_PORTS = struct.Struct(">HH")
_TAIL = struct.Struct("=III")  # interface, cookie
_CREDENTIALS = struct.Struct("3i")
_ANY = 0xFFFF_FFFF
_UID_OFFSET = _HEADER.size + 64  # in inet_diag_msg, behind the address, four counters of 32 bits
_ANSWER = 4096
_DEADLINE = 2.0


def owner_of(sock: socket.socket) -> int | None:
    """The uid of whoever opened the other end of the connected ``sock``; None if that is unknown or elsewhere.

    For TCP the socket that the other program holds is looked up by its addresses (sock_diag(7), Linux), in this
    machine's own network: a connection from another machine, or from a container, has none.
    """
    if sys.platform != "linux":
        return None
    with suppress(OSError):
        if sock.family == socket.AF_UNIX:
            return _credentials(sock)[1]
        return _tcp_owner(sock.family, sock.getpeername(), sock.getsockname())
    return None


def is_own(sock: socket.socket) -> bool:
    """Whether the other end of ``sock`` belongs to the user of this process, or to root."""
    return owner_of(sock) in (os.geteuid(), 0)


def in_this_process(sock: socket.socket) -> bool:
    """Whether this process has opened the other end of a connected Unix socket, too; False if that is unknown."""
    return sys.platform == "linux" and _credentials(sock)[0] == os.getpid()


def _credentials(sock: socket.socket) -> tuple[int, int, int]:
    """Process, user and group at the other end of a Unix socket (unix(7), Linux). ``OSError``."""
    process, user, group = _CREDENTIALS.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    return process, user, group


def _tcp_owner(family: int, source: tuple[str, int], target: tuple[str, int]) -> int | None:
    """Ask for the socket whose own address is ``source`` and whose peer is ``target``."""
    address = parse_ip(source[0])
    if family == socket.AF_INET6 and address is not None and address.ip.version == 4:
        # One that came to an IPv6 listener by IPv4 is an IPv4 socket at its own end.
        mapped = parse_ip(target[0])
        assert mapped is not None
        family, source, target = socket.AF_INET, (str(address.ip), source[1]), (str(mapped.ip), target[1])
    body = (
        _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, _ANY)
        + _PORTS.pack(source[1], target[1])
        + _packed(family, source[0])
        + _packed(family, target[0])
        + _TAIL.pack(0, _ANY, _ANY)
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(_DEADLINE)
        netlink.send(_HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + body)
        answer = netlink.recv(_ANSWER)
    kind = _HEADER.unpack_from(answer)[1]
    # Any other type is an error: there is no such socket in this network.
    return int(struct.unpack_from("=I", answer, _UID_OFFSET)[0]) if kind == _SOCK_DIAG_BY_FAMILY else None


def _packed(family: int, address: str) -> bytes:
    return socket.inet_pton(family, address.partition("%")[0]).ljust(16, b"\0")
