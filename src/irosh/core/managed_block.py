"""A block of lines in a file that is somebody else's: put in, replaced and taken out, all other bytes left as they are.

Pure: bytes in, bytes out.
"""

from __future__ import annotations

from dataclasses import dataclass

from irosh.core.errors import ErrorCode, IroshError


@dataclass(frozen=True)
class ManagedBlock:
    """A kind of block, known by its first and last line, which hold ``label``: one line of printable text."""

    label: str

    @property
    def _begin(self) -> bytes:
        return f"# >>> {self.label} >>>".encode()

    @property
    def _end(self) -> bytes:
        return f"# <<< {self.label} <<<".encode()

    def put(self, content: bytes, lines: bytes) -> bytes:
        """``content`` with ``lines`` in the block: where it is already, else before everything.

        ``IroshError`` (usage) when a block in it does not end.
        """
        newline = b"" if not lines or lines.endswith(b"\n") else b"\n"
        block = self._begin + b"\n" + lines + newline + self._end + b"\n"
        place, rest = self._taken_out(content)
        before, after = rest[: place or 0], rest[place or 0 :]
        if before and not before.endswith(b"\n"):
            before += b"\n"
        return before + block + after

    def remove(self, content: bytes) -> bytes:
        """``content`` without the block. ``IroshError`` as :meth:`put`."""
        return self._taken_out(content)[1]

    def _taken_out(self, content: bytes) -> tuple[int | None, bytes]:
        """Where the (first) block began, and what is left without any."""
        place: int | None = None
        kept: list[bytes] = []
        inside = False
        size = 0
        for line in content.splitlines(keepends=True):
            mark = line.strip()
            if not inside and mark == self._begin:
                inside = True
                place = size if place is None else place
            elif inside and mark == self._end:
                inside = False
            elif inside and mark == self._begin:
                break
            elif not inside:
                kept.append(line)
                size += len(line)
        if inside:
            raise IroshError(
                ErrorCode.USAGE,
                f"the line {self._begin.decode()!r} has no {self._end.decode()!r} behind it",
                "what is between belongs to irosh: remove the line, or put the other one back",
            )
        return place, b"".join(kept)
