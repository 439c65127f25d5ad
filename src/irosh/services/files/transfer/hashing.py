"""BLAKE3 of files and of parts of them."""

from __future__ import annotations

import os
from collections.abc import Callable

from blake3 import blake3

from irosh.services.files.transfer.frames import BLOCK

_ZEROS = bytes(BLOCK)


def hash_file(descriptor: int, size: int, hasher: blake3, meanwhile: Callable[[], None]) -> int:
    """Hash the first ``size`` bytes; how many there were. ``OSError``.

    ``meanwhile`` is called before each block: a large file takes minutes, in which others may want to hear of us.
    """
    buffer = memoryview(bytearray(min(BLOCK, size)))
    offset = 0
    while offset < size:
        meanwhile()
        count = os.preadv(descriptor, [buffer[: size - offset]], offset)
        if not count:
            break
        hasher.update(buffer[:count])
        offset += count
    return offset


def hash_zeros(hasher: blake3, size: int) -> None:
    """Hash ``size`` bytes of zero."""
    while size:
        count = min(size, BLOCK)
        hasher.update(_ZEROS if count == BLOCK else _ZEROS[:count])
        size -= count


def is_zeros(data: memoryview) -> bool:
    """Whether it is nothing but zeros; ``data`` has at most :data:`BLOCK` bytes."""
    return data == _ZEROS[: len(data)]
