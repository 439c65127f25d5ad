"""The flag ``--status-bar``. What it shows is imported when it is given."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from irosh.faces.cli.options import Settings
from irosh.faces.cli.terminal import LocalTerminal

F = TypeVar("F", bound=Callable[..., Any])


def status_bar_option(function: F) -> F:
    """Add ``--status-bar``, which the command gets as ``status_bar``."""
    return click.option(
        "--status-bar", is_flag=True, help="Show on the last row how busy the host and how good the link is."
    )(function)


def with_status_bar(settings: Settings, terminal: LocalTerminal | None) -> LocalTerminal | None:
    """The same terminal with a status bar, where the session is shown on it."""
    if terminal is None or not os.isatty(1):
        return terminal
    from irosh.faces.cli.status_bar import TerminalWithBar

    return TerminalWithBar(terminal.descriptor, settings)
