"""Has the kernel mark all sockets of a process that runs already, so that rules for the mark lead its packets.

Those that it makes from now on are marked by a BPF program of eight instructions, which the kernel runs when a process
of its control group makes one (``BPF_CGROUP_INET_SOCK_CREATE``); it goes with the descriptor that holds it, so with the
process that attached it. Those that there are get the mark by copies of their descriptors (pidfd_getfd(2)). Linux 6.1
or later, by cgroup2, as root; the other process needs no rights, and does not notice.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# asm/unistd.h: the newer ones have the same numbers everywhere.
_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
_FSOPEN, _FSCONFIG, _FSMOUNT, _PIDFD_GETFD = 430, 431, 432, 438
_FSCONFIG_CREATE, _CLOSE_ON_EXEC = 6, 1
# linux/bpf.h
_LOAD, _LINK = 5, 28
_CGROUP_SOCK, _SOCKET_CREATE = 9, 2
_LOAD_ATTRIBUTES = struct.Struct("=IIQQIIQII16sII")
_LINK_ATTRIBUTES = struct.Struct("=IIII")
_INSTRUCTION = struct.Struct("=BBhi")
_GET_PROCESS = 14  # bpf_get_current_pid_tgid: the process id is in the upper half
_MARK_OFFSET = 16  # in struct bpf_sock


@contextmanager
def marked_sockets(pid: int, mark: int) -> Iterator[None]:
    """Every IP socket of process ``pid`` has ``mark``: new ones while the context lasts. ``OSError``."""
    _check_process_ids(mark)
    with _new_marked(pid, mark):
        _mark_present(pid, mark)
        yield


@contextmanager
def _new_marked(pid: int, mark: int) -> Iterator[None]:
    holder = _attach(_program(pid, mark), pid)
    try:
        yield
    finally:
        os.close(holder)


def _check_process_ids(mark: int) -> None:
    """The kernel goes by the machine's process ids; in a container they may be others. ``OSError``."""
    with _new_marked(os.getpid(), mark), socket.socket() as sock:
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) != mark:
            raise OSError(0, "in this container process ids are not the machine's")


def _program(pid: int, mark: int) -> bytes:
    return b"".join(
        _INSTRUCTION.pack(code, target | source << 4, offset, value)
        for code, target, source, offset, value in (
            (0xBF, 6, 1, 0, 0),  # r6 = the socket
            (0x85, 0, 0, 0, _GET_PROCESS),
            (0x77, 0, 0, 0, 32),  # r0 >>= 32
            (0x55, 0, 0, 2, pid),  # if r0 != pid: skip two
            (0xB7, 1, 0, 0, mark),
            (0x63, 6, 1, _MARK_OFFSET, 0),  # socket.mark = r1
            (0xB7, 0, 0, 0, 1),  # it may be made
            (0x95, 0, 0, 0, 0),
        )
    )


def _attach(program: bytes, pid: int) -> int:
    """The descriptor that holds the program in the control group of ``pid``."""
    with contextlib.ExitStack() as stack:

        def held(descriptor: int) -> int:
            stack.callback(os.close, descriptor)
            return descriptor

        buffers = [ctypes.create_string_buffer(each, len(each)) for each in (program, b"Apache-2.0\0")]
        where = [ctypes.addressof(each) for each in buffers]
        count = len(program) // _INSTRUCTION.size
        attributes = (_CGROUP_SOCK, count, *where, 0, 0, 0, 0, 0, b"irosh", 0, _SOCKET_CREATE)
        loaded = held(_bpf(_LOAD, _LOAD_ATTRIBUTES.pack(*attributes)))
        # Mounted nowhere: where the machine has it may be out of sight, as in a network namespace of ip-netns(8).
        file_system = held(_call(_FSOPEN, b"cgroup2", _CLOSE_ON_EXEC))
        _call(_FSCONFIG, file_system, _FSCONFIG_CREATE, None, None, 0)
        root = held(_call(_FSMOUNT, file_system, _CLOSE_ON_EXEC, 0))
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        group = held(os.open(f".{_group_of(pid)}", flags, dir_fd=root))
        return _bpf(_LINK, _LINK_ATTRIBUTES.pack(loaded, group, _SOCKET_CREATE, 0))


def _group_of(pid: int) -> str:
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return line[3:]
    raise OSError(0, "no cgroup2")


def _mark_present(pid: int, mark: int) -> None:
    process = os.pidfd_open(pid)
    try:
        for number in _descriptors(pid):
            with contextlib.suppress(OSError):  # closed meanwhile
                copy = socket.socket(fileno=_call(_PIDFD_GETFD, process, number, 0))
                with copy:
                    if copy.family in (socket.AF_INET, socket.AF_INET6):
                        copy.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    finally:
        os.close(process)


def _descriptors(pid: int) -> Sequence[int]:
    """The sockets of a process."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if entry.is_socket():
                found.append(int(entry.name))
    return found


def _bpf(command: int, attributes: bytes) -> int:
    number = _BPF.get(platform.machine())
    if number is None:
        raise OSError(0, f"unknown on {platform.machine()}")
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return _call(number, command, ctypes.byref(buffer), len(attributes))


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    result = int(libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
