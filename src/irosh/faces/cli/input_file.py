"""Files that a person names for a command to read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from irosh.core.errors import ErrorCode, IroshError

T = TypeVar("T")


def read_input(path: Path, max_size: int, parse: Callable[[str], T]) -> T:
    """What ``parse`` makes of the text in the file; its ``IroshError`` names the file, too.

    ``IroshError`` (usage) when it cannot be read or has more than ``max_size`` bytes.
    """
    try:
        with path.open("rb") as file:
            content = file.read(max_size + 1)
    except OSError as error:
        raise IroshError(ErrorCode.USAGE, f"cannot read {path}: {error.strerror}") from None
    if len(content) > max_size:
        raise IroshError(ErrorCode.USAGE, f"{path} is larger than {max_size} bytes")
    try:
        return parse(content.decode(errors="replace"))
    except IroshError as error:
        raise IroshError(error.code, f"{path}: {error.message}", error.hint) from None
