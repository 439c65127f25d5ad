"""How much of its log a command shows on standard error; it may change while the command runs."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from typing import Any

from irosh.core.wording import printable
from irosh.faces.cli.terminal import line_end


@dataclass(frozen=True)
class _Level:
    name: str
    everybody: int
    own: int
    ssh_library: int


_LONGEST = 8192  # characters of a line
_NOTHING = logging.CRITICAL + 1
_LEVELS = {
    -1: _Level("QUIET", _NOTHING, _NOTHING, _NOTHING),
    0: _Level("WARNING", logging.WARNING, logging.WARNING, logging.WARNING),
    1: _Level("INFO", logging.WARNING, logging.INFO, logging.WARNING),
    2: _Level("DEBUG", logging.WARNING, logging.DEBUG, logging.WARNING),
    3: _Level("DEBUG2", logging.WARNING, logging.DEBUG, logging.INFO),
}
LEAST, MOST = min(_LEVELS), max(_LEVELS)


class LineFormatter(logging.Formatter):
    """One line for a message: what peers have put into it neither moves the cursor nor forges another line."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record), _LONGEST)

    def formatException(self, ei: Any) -> str:
        return "\n".join(printable(line, _LONGEST) for line in super().formatException(ei).split("\n"))


class _TerminalHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """To standard error, also while it is a terminal in raw mode."""

    def format(self, record: logging.LogRecord) -> str:
        self.stream = sys.stderr  # as it is now
        self.terminator = line_end(2)
        return super().format(record).replace("\n", self.terminator)


def show_log(verbosity: int) -> str:
    """Log to standard error from now on; returns the name of the level. ``verbosity`` as the count of ``-v``."""
    level = _LEVELS[max(LEAST, min(verbosity, MOST))]
    root = logging.getLogger()
    if not root.handlers:
        handler = _TerminalHandler(sys.stderr)
        handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root.addHandler(handler)
    root.setLevel(level.everybody)
    logging.getLogger("irosh").setLevel(level.own)
    logging.getLogger("asyncssh").setLevel(level.ssh_library)
    os.environ.setdefault("RUST_LOG", "warn")
    return level.name
