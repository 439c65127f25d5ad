"""What a transfer tells of itself while it runs."""

from __future__ import annotations

from typing import Protocol

from irosh.services.files.transfer.frames import Source


class Observer(Protocol):
    """Called from the threads of a transfer: short work only."""

    def totals(self, files: int, size: int, *, complete: bool) -> None:
        """So much there is to move; ``complete``: not just so far."""

    def file(self, name: bytes) -> None:
        """A file of some size begins."""

    def moved(self, size: int, files: int = 0) -> None:
        """``size`` bytes more have gone, and ``files`` more files are done with."""

    def problem(self, name: bytes, message: str, *, harmless: bool) -> None:
        """Something does not arrive; ``harmless``: it could not be expected to."""


class Silent:
    """Nobody watches."""

    def totals(self, files: int, size: int, *, complete: bool) -> None:
        pass

    def file(self, name: bytes) -> None:
        pass

    def moved(self, size: int, files: int = 0) -> None:
        pass

    def problem(self, name: bytes, message: str, *, harmless: bool) -> None:
        pass


def shown_name(sources: list[Source], position: int, parts: list[bytes]) -> bytes:
    """How a thing is called towards people: from the name of its source down."""
    top = [sources[position].name] if position < len(sources) and sources[position].name else []
    return b"/".join([*top, *parts]) or b"."
