"""Records a session as asciicast v2 (https://docs.asciinema.org/manual/asciicast/v2/)."""

from __future__ import annotations

import codecs
import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

from irosh.core.errors import ErrorCode, IroshError

log = logging.getLogger(__name__)

_KEPT_ENVIRONMENT = ("SHELL", "TERM")


class Recording:
    """A file that is written as the session goes on. When the disk is full it ends, the session does not."""

    def __init__(self, path: Path, columns: int, rows: int, environment: Mapping[str, str], title: str) -> None:
        """Make the file, with mode 0600. ``IroshError`` (usage) when it exists or cannot be made."""
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise IroshError(ErrorCode.USAGE, f"cannot record to {path}: {error.strerror}") from None
        self.path = path
        self.error: str | None = None
        self._file = os.fdopen(descriptor, "w", encoding="utf-8")
        self._began = time.monotonic()
        self._flushed = self._began
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line(
            {
                "version": 2,
                "width": columns,
                "height": rows,
                "timestamp": int(time.time()),
                "title": title,
                "env": {name: environment[name] for name in _KEPT_ENVIRONMENT if name in environment},
            }
        )

    def output(self, data: bytes) -> None:
        """The program has written ``data``."""
        if text := self._decoder.decode(data):
            self._event("o", text)

    def resized(self, columns: int, rows: int) -> None:
        """The terminal has another size."""
        self._event("r", f"{columns}x{rows}")

    def close(self) -> None:
        """Nothing more follows."""
        try:
            self._file.close()
        except OSError as error:
            self._failed(error)

    def _event(self, code: str, data: str) -> None:
        self._line([round(time.monotonic() - self._began, 6), code, data])

    def _line(self, content: object) -> None:
        if self.error is not None:
            return
        try:
            self._file.write(json.dumps(content, ensure_ascii=False) + "\n")
            if (now := time.monotonic()) - self._flushed > 1.0:
                self._file.flush()
                self._flushed = now
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        self.error = f"the recording stopped: {error.strerror}"
        log.error("%s: %s", self.path, self.error)
