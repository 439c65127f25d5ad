"""``irosh status``: the running node, its connections and the paths they take; now, again and again, or in the past."""

from __future__ import annotations

from typing import Any

import click

from irosh.core.durations import parse_duration
from irosh.core.errors import IroshError
from irosh.core.state import StateDirectory
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.status_view import status_text
from irosh.node.control_client import attach

NODE_DEADLINE = 5.0  # seconds; a node that is suspended does not answer
_LEAST_INTERVAL = 0.1


@click.command()
@click.option("--streams", is_flag=True, help="Show what goes over the connections, too.")
@click.option("--watch", "watching", is_flag=True, help="Again and again, until interrupted.")
@click.option("--interval", metavar="TIME", help="With --watch: how often (default 2s).")
@click.option("--history", "past", is_flag=False, flag_value="", metavar="[PEER]", help="What was measured before.")
@click.option("--since", metavar="TIME", help="With --history: how far back, up to 1d (default 1h).")
@common_options
def status(
    settings: Settings, streams: bool, watching: bool, interval: str | None, past: str | None, since: str | None
) -> None:
    """Show the running node, its connections and their paths. Exits with 0 also when none runs."""
    if interval is not None and not watching:
        raise click.UsageError("--interval goes with --watch")
    if since is not None and past is None:
        raise click.UsageError("--since goes with --history")
    if past is not None:
        if watching or streams:
            raise click.UsageError("--history goes with neither --watch nor --streams")
        from irosh.faces.cli.status_history import show_history

        show_history(settings, past, parse_duration(since) if since else 3600.0)
        return
    state = StateDirectory(settings.state_path)
    if watching:
        from irosh.faces.cli.status_watch import watch

        pause = max(_LEAST_INTERVAL, parse_duration(interval) if interval else 2.0)
        watch(settings, pause, lambda: _found_or_gone(state), lambda found: status_text(found, streams=streams))
        return
    found = _found(state)
    settings.output.result(found, "" if settings.json else status_text(found, streams=streams))


def _found(state: StateDirectory) -> dict[str, Any]:
    client = attach(state.control_socket_path)
    if client is None:
        return _stopped(state)
    with client:
        return client.call("status", {})


def _found_or_gone(state: StateDirectory) -> dict[str, Any]:
    """As :func:`_found`; a node that ends meanwhile, or does not answer, is one that is not there."""
    client = attach(state.control_socket_path)
    if client is None:
        return _stopped(state)
    with client:
        client.socket.settimeout(NODE_DEADLINE)
        try:
            return client.call("status", {})
        except IroshError:
            return _stopped(state)


def _stopped(state: StateDirectory) -> dict[str, Any]:
    """What can be said without a node. Nothing is created."""
    from irosh import __version__
    from irosh.core.identity import load_identity

    own_id = load_identity(state.identity_path).id if state.identity_path.exists() else None
    return {
        "running": False,
        "version": __version__,
        "pid": state.holder(),  # of a node that is starting or stopping at this moment
        "id": own_id,
        "state": str(state.path),
        "hosting": False,
        "addresses": [],
        "relays": [],
        "connections": [],
    }
