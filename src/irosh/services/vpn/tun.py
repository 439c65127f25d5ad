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
_BATCH, _BATCH_BYTES = 128, 256 * 1024  # then others run


class Tun:
    """A new interface, named by ``pattern`` with a number for ``%d``. ``IroshError`` (vpn-unavailable)."""

    def __init__(self, pattern: str) -> None:
        try:
            self._descriptor = os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _unavailable(error) from None
        try:
            request = _REQUEST.pack(pattern.encode(), _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR)
            made = fcntl.ioctl(self._descriptor, _TUNSETIFF, request)
            fcntl.ioctl(self._descriptor, _TUNSETOFFLOAD, _CHECKSUM | _TCP4 | _TCP6)
        except OSError as error:
            os.close(self._descriptor)
            raise _unavailable(error) from None
        self.name = made[:16].split(b"\0")[0].decode()

    def receive(self, receiver: Callable[[bytes], None]) -> None:
        """Have ``receiver`` called with each packet that the system sends by the interface, behind its header."""
        buffer = memoryview(bytearray(HEADER_SIZE + MAX_PACKET))

        def readable() -> None:
            left = _BATCH_BYTES
            for _ in range(_BATCH):
                try:
                    size = os.readv(self._descriptor, [buffer])
                except OSError:
                    return  # nothing more just now, or the interface is down
                receiver(bytes(buffer[:size]))
                left -= size
                if left < 0:
                    return

        asyncio.get_running_loop().add_reader(self._descriptor, readable)

    def send(self, header: bytes, packet: bytes) -> None:
        """Hand a packet to the system as if it had come by the interface. What it does not take is lost."""
        try:
            os.writev(self._descriptor, (header, packet))
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EINVAL, errno.EIO, errno.ENOBUFS, errno.EMSGSIZE, errno.ENOMEM):
                raise

    def close(self) -> None:
        """Remove the interface, and with it its addresses and routes."""
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)


def _unavailable(error: OSError) -> IroshError:
    hint = "it needs root" if error.errno in (errno.EACCES, errno.EPERM) else "it needs the kernel's module tun"
    return IroshError(ErrorCode.VPN_UNAVAILABLE, f"cannot make a TUN device: {error.strerror}", hint)
