"""The file of a configuration: read with a limit on its size, and parsed as TOML."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.wording import escape

MAX_SIZE = 1024 * 1024
"""Bytes of the largest file that is read."""


def read_config_file(path: Path) -> tuple[bytes, int] | None:
    """The file's content and permission bits; None if there is no file. Raises ``IroshError(INVALID_CONFIG)``."""
    try:
        # Not to wait for ever if someone put a FIFO there.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise IroshError(ErrorCode.INVALID_CONFIG, f"{path} is not a regular file")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(MAX_SIZE + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IroshError(
            ErrorCode.INVALID_CONFIG,
            f"cannot read {path}: {error.strerror}",
            "check who owns it and its mode",
        ) from None
    if len(content) > MAX_SIZE:
        raise IroshError(ErrorCode.INVALID_CONFIG, f"{path} is larger than {MAX_SIZE} bytes")
    return content, stat.S_IMODE(status.st_mode)


def parse_toml(path: Path, content: bytes) -> dict[str, object]:
    """What is in ``content``, the file at ``path``. Raises ``IroshError(INVALID_CONFIG)`` with the line."""
    import tomllib  # here, as most commands find no file

    try:
        return tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise IroshError(ErrorCode.INVALID_CONFIG, f"{path}, line {line}: not UTF-8 text") from None
    except (ValueError, RecursionError) as error:
        raise IroshError(
            ErrorCode.INVALID_CONFIG,
            f"{path}: not valid TOML: {escape(str(error), 200)}",
            "see https://toml.io",
        ) from None
