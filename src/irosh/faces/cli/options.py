"""Options that every command takes, before or after its name, and what they are set to."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from irosh.faces.cli.output import Output

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Settings:
    """What the common options say."""

    state: Path | None = None
    json: bool = False
    verbosity: int = 0

    @property
    def output(self) -> Output:
        """Where results go."""
        return Output(as_json=self.json)

    @property
    def state_path(self) -> Path:
        """The state directory asked for, or the default one."""
        if self.state is not None:
            return self.state
        from irosh.core.state import default_state_directory

        return default_state_directory()


def common_options(function: F) -> F:
    """Add ``--state``, ``--json`` and ``-v`` to a command, which gets them as its first argument ``settings``."""

    @click.option("--state", type=click.Path(path_type=Path), help="State directory (IROSH_STATE).", metavar="DIR")
    @click.option("--json", "as_json", is_flag=True, help="Results and events as JSON, one object a line.")
    @click.option("-v", "--verbose", count=True, help="Log to stderr; twice for more.")
    @click.pass_context
    @functools.wraps(function)
    def wrapped(
        ctx: click.Context, /, state: Path | None, as_json: bool, verbose: int, *args: Any, **kwargs: Any
    ) -> Any:
        settings = ctx.ensure_object(Settings)
        settings.state = state or settings.state
        settings.json = as_json or settings.json
        settings.verbosity = max(verbose, settings.verbosity)
        if settings.verbosity:
            from irosh.faces.cli.verbosity import show_log

            show_log(settings.verbosity)
        return function(settings, *args, **kwargs)

    return wrapped  # type: ignore[return-value]
