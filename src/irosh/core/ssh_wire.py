"""The data types of SSH (RFC 4251, section 5) that keys, signatures and certificates are made of. Pure."""

from __future__ import annotations


class SshWireError(ValueError):
    """Bytes that are not what they should be."""


def string(data: bytes) -> bytes:
    """A ``string``: its length, then the bytes."""
    return len(data).to_bytes(4, "big") + data


class SshReader:
    """Reads data types off the front of ``data``. Every method raises :class:`SshWireError` when that is too short."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def position(self) -> int:
        """How many bytes have been read."""
        return self._position

    @property
    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self._position == len(self._data)

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        end = self._position + size
        if end > len(self._data):
            raise SshWireError("it is cut short")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def byte(self) -> int:
        """One byte."""
        return self.take(1)[0]

    def uint32(self) -> int:
        """Four bytes, big-endian."""
        return int.from_bytes(self.take(4), "big")

    def uint64(self) -> int:
        """Eight bytes, big-endian."""
        return int.from_bytes(self.take(8), "big")

    def string(self) -> bytes:
        """A length and as many bytes."""
        return self.take(self.uint32())

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data) - self._position)

    def finish(self) -> None:
        """There must be nothing left."""
        if not self.at_end:
            raise SshWireError("something follows it")
