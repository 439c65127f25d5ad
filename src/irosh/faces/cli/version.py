"""``irosh version``."""

from __future__ import annotations

import click

from irosh import __version__
from irosh.faces.cli.options import Settings, common_options


@click.command()
@common_options
def version(settings: Settings) -> None:
    """Print the version."""
    settings.output.result({"version": __version__}, f"irosh {__version__}")
