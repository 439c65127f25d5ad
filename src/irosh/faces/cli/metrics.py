"""``irosh metrics``: the metrics of the running node, for Prometheus."""

from __future__ import annotations

import click

from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.running import running_node


@click.command()
@common_options
def metrics(settings: Settings) -> None:
    """Print the metrics of the running node in Prometheus' text format.

    `irosh host --metrics-listen PORT` serves the same by HTTP.
    """
    with running_node(settings) as client:
        found = client.call("metrics", {})
    settings.output.result(found, str(found["text"]).rstrip("\n"))
