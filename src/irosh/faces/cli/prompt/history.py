"""What was typed at the prompt, kept in a file of the state directory that all prompts share, also at the same time."""

from __future__ import annotations

import fcntl
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from irosh.core.errors import IroshError
from irosh.core.private_file import PRIVATE_MODE, write_private_file
from irosh.core.prompt_line import parse_prompt_line
from irosh.core.ticket import PREFIX as TICKET
from irosh.faces.cli.prompt.commands import COMMANDS

log = logging.getLogger(__name__)

MAX_SIZE = 64 * 1024  # bytes of the file; when it is larger the older half goes
MAX_LINE = 1024  # characters
_ATTEMPTS = 100  # at a file that others replace


class HistoryFile:
    """One line for each command, the oldest first, mode 0600. What goes wrong with it is logged and does no more harm.

    Only commands that there are get into it, so neither a password that was meant for the session nor a ticket; nor
    does a line that begins with a space, as with bash's HISTCONTROL=ignorespace.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def lines(self) -> list[str]:
        """All there are."""
        try:
            with self._locked() as descriptor:
                return _read(descriptor)
        except (OSError, IroshError) as error:
            log.info("the history of the prompt cannot be read: %s", error)
            return []

    def add(self, line: str) -> None:
        """Keep ``line``, unless it has no place there."""
        data = f"{line}\n".encode(errors="replace")
        if not _belongs(line):
            return
        try:
            with self._locked() as descriptor:
                if os.fstat(descriptor).st_size + len(data) > MAX_SIZE:
                    kept = "".join(f"{each}\n" for each in _read(descriptor)).encode()[-MAX_SIZE // 2 :]
                    write_private_file(self._path, kept.partition(b"\n")[2] + data)
                else:
                    os.write(descriptor, data)
        except (OSError, IroshError) as error:
            log.info("the history of the prompt cannot be written: %s", error)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file, for this process alone. ``OSError``."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        for _ in range(_ATTEMPTS):
            descriptor = os.open(self._path, flags, PRIVATE_MODE)
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                    raise OSError(f"{self._path} is not a file of this user")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if _same(self._path, status):  # else another process has replaced it meanwhile
                    os.fchmod(descriptor, PRIVATE_MODE)
                    yield descriptor
                    return
            finally:
                os.close(descriptor)
        raise OSError(f"{self._path} is replaced again and again")


def _same(path: Path, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), status)
    except FileNotFoundError:
        return False


def _read(descriptor: int) -> list[str]:
    """The lines in a file, but for what does not belong there; of one that is too large, the last."""
    size = os.fstat(descriptor).st_size
    text = os.pread(descriptor, MAX_SIZE, max(0, size - MAX_SIZE)).decode(errors="replace")
    return [line for line in text.split("\n") if _belongs(line)]


def _belongs(line: str) -> bool:
    if len(line) > MAX_LINE or not line.isprintable() or line.startswith(" ") or TICKET in line:
        return False
    return parse_prompt_line(line).command in COMMANDS
