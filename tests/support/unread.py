"""What was sent to a descriptor, and nobody has read."""

from __future__ import annotations

import fcntl
import struct
import termios
from typing import Protocol

STUCK = 0.3  # seconds for which nothing moves any more


class HasDescriptor(Protocol):
    def fileno(self) -> int: ...


def unread(descriptor: int | HasDescriptor) -> int:
    """How many bytes wait in the system to be read there."""
    return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))[0])
