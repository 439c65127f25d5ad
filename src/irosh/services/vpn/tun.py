"""A TUN device of Linux: a network interface whose packets a program reads and writes. It goes with its descriptor.

Before each packet there is a header that says what is to be done to it yet (:mod:`irosh.services.vpn.offload`).
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import struct
from collections.abc import Callable

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.packet_framing import MAX_PACKET
from irosh.services.vpn.offload import HEADER_SIZE

_DEVICE = "/dev/net/tun"
# linux/if_tun.h
_TUNSETIFF, _TUNSETOFFLOAD = 0x400454CA, 0x400454D0
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
_CHECKSUM, _TCP4, _TCP6 = 1, 2, 4
_REQUEST = struct.Struct("16sH22x")
_LOSSES = frozenset(
    getattr(errno, name) for name in ("EAGAIN", "EINVAL", "EIO", "ENOBUFS", "EMSGSIZE", "ENOMEM", "EBADFD")
)
_BATCH, _BATCH_BYTES = 128, 256 * 1024  # then others run


def make_tun(pattern: str) -> tuple[int, str]:
    """A new interface: its descriptor, and its name, by ``pattern`` with a number for ``%d``.

    ``IroshError`` (vpn-unavailable).
    """
    try:
        descriptor = os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _unavailable(error) from None
    try:
        request = _REQUEST.pack(pattern.encode(), _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR)
        made = fcntl.ioctl(descriptor, _TUNSETIFF, request)
        fcntl.ioctl(descriptor, _TUNSETOFFLOAD, _CHECKSUM | _TCP4 | _TCP6)
    except OSError as error:
        os.close(descriptor)
        raise _unavailable(error) from None
    return descriptor, made[:16].split(b"\0")[0].decode()


class Tun:
    """The packets of an interface, by the ``descriptor`` that belongs to this object from now on."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def receive(self, receiver: Callable[[bytes], None]) -> None:
        """Have ``receiver`` called with each packet that the system sends by the interface, behind its header."""
        buffer = memoryview(bytearray(HEADER_SIZE + MAX_PACKET))

        def readable() -> None:
            left = _BATCH_BYTES
            for _ in range(_BATCH):
                try:
                    size = os.readv(self._descriptor, [buffer])
                except OSError as error:
                    if error.errno == errno.EBADFD:
                        loop.remove_reader(self._descriptor)  # somebody has removed the interface
                    return
                receiver(bytes(buffer[:size]))
                left -= size
                if left < 0:
                    return

        loop = asyncio.get_running_loop()
        loop.add_reader(self._descriptor, readable)

    def send(self, header: bytes, packet: bytes) -> None:
        """Hand a packet to the system as if it had come by the interface. What it does not take is lost."""
        try:
            os.writev(self._descriptor, (header, packet))
        except OSError as error:
            if error.errno not in _LOSSES:
                raise

    def close(self) -> None:
        """Let go of the interface, which goes with its last descriptor, and its addresses and routes with it."""
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)


def _unavailable(error: OSError) -> IroshError:
    hint = "it needs root" if error.errno in (errno.EACCES, errno.EPERM) else "it needs the kernel's module tun"
    return IroshError(ErrorCode.VPN_UNAVAILABLE, f"cannot make a TUN device: {error.strerror}", hint)
