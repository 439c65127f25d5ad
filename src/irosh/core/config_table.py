"""One table of the configuration, whose keys are taken out one by one. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from irosh.core.config_values import of_type
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.socket_spec import Fault
from irosh.core.wording import did_you_mean, escape

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)

T = TypeVar("T")


class Table:
    """What is left over at the end is unknown. ``path`` is the file, for messages; ``name`` the table's."""

    def __init__(self, path: Path, name: str, values: dict[str, object]) -> None:
        self._path = path
        self._name = name
        self._values = dict(values)
        self._known: list[str] = []

    def take(self, key: str, read: Callable[[object], T], default: T) -> T:
        """The value of ``key`` as ``read`` makes it of what the file says, or the default."""
        self._known.append(key)
        return self._convert(key, read, self._values.pop(key)) if key in self._values else default

    def take_all(self, read_key: Callable[[object], str], read: Callable[[object], T]) -> dict[str, T]:
        """All keys and values, of a table whose keys are data."""
        return {
            self._convert(key, read_key, key): self._convert(key, read, value) for key, value in self._values.items()
        }

    def table(self, name: str) -> Table:
        """The table ``name`` in this one; empty if it is missing."""
        none: dict[str, object] = {}
        values = self.take(name, lambda value: of_type(value, dict, f"a table, [{name}]"), none)
        return Table(self._path, self._full(name), values)

    def end(self) -> None:
        """Raise ``IroshError(INVALID_CONFIG)`` if a key is left."""
        for key in self._values:
            raise self.invalid(key, "there is no such key", did_you_mean(key, self._known))

    def _convert(self, key: str, read: Callable[[object], T], value: object) -> T:
        try:
            return read(value)
        except (Fault, IroshError) as error:
            raise self.invalid(key, error.message, error.hint) from None

    def _full(self, key: str) -> str:
        shown = key if _BARE_KEY.fullmatch(key) else f'"{escape(key, 80)}"'
        return f"{self._name}.{shown}" if self._name else shown

    def invalid(self, key: str, message: str, hint: str) -> IroshError:
        """What is wrong with the value of ``key``."""
        return IroshError(ErrorCode.INVALID_CONFIG, f"{self._path}: {self._full(key)}: {message}", hint)
