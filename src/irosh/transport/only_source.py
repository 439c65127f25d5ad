"""Sockets of this process that hear one other socket only, by a filter in the kernel.

An endpoint that is reached by way of a stream would find a shorter one if both ends are on one machine, as its engine
tells the peer where it is bound. Nor has any other program of the machine to do with it.
"""

from __future__ import annotations

import ctypes
import os
import socket
import stat
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path

_SO_ATTACH_FILTER = 26
_INSTRUCTION, _PROGRAM = struct.Struct("HBBI"), struct.Struct("HL")  # struct sock_filter, sock_fprog
# Classic BPF (linux/filter.h), where a UDP socket sees the UDP header first; the IP header is at an offset of its own.
_LOAD_HALF, _LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x28, 0x20, 0x15, 0x06
_IP_SOURCE = (-0x100000 + 12) & 0xFFFF_FFFF
_ALL, _NOTHING = 0xFFFF_FFFF, 0


def hear_only(bound: Iterable[str], source: tuple[str, int]) -> None:
    """Have this process's UDP sockets that are ``bound`` to these ``ip:port`` hear nothing but ``source`` (IPv4).

    Where the system has no such filter (it is Linux'), they stay as they are.
    """
    if sys.platform != "linux":
        return
    wanted = set(bound)
    for sock in _own_sockets():
        with sock, suppress(OSError):
            if sock.type == socket.SOCK_DGRAM and _bound_to(sock) in wanted:
                _attach(sock, _from_source(*source) if sock.family == socket.AF_INET else _from_nobody())


def _own_sockets() -> Iterator[socket.socket]:
    for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        with suppress(OSError):  # closed meanwhile
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                yield socket.socket(fileno=os.dup(descriptor))


def _bound_to(sock: socket.socket) -> str | None:
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if sock.family == socket.AF_INET6 else f"{host}:{port}"


def _from_source(host: str, port: int) -> bytes:
    program = (
        (_LOAD_HALF, 0, 0, 0),
        (_JUMP_IF_EQUAL, 0, 3, port),
        (_LOAD_WORD, 0, 0, _IP_SOURCE),
        (_JUMP_IF_EQUAL, 0, 1, int(IPv4Address(host))),
        (_RETURN, 0, 0, _ALL),
        (_RETURN, 0, 0, _NOTHING),
    )
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)


def _from_nobody() -> bytes:
    return _INSTRUCTION.pack(_RETURN, 0, 0, _NOTHING)


def _attach(sock: socket.socket, program: bytes) -> None:
    code = ctypes.create_string_buffer(program, len(program))
    described = _PROGRAM.pack(len(program) // _INSTRUCTION.size, ctypes.addressof(code))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
