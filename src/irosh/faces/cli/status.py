"""``irosh status``: the running node, its connections and the paths they take."""

from __future__ import annotations

from typing import Any

import click

from irosh.core.state import StateDirectory
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.table import age, fields, milliseconds, table
from irosh.node.control_client import attach


@click.command()
@common_options
def status(settings: Settings) -> None:
    """Show the running node, its connections and their paths. Exits with 0 also when none runs."""
    state = StateDirectory(settings.state_path)
    if (client := attach(state.control_socket_path)) is not None:
        with client:
            found = client.call("status", {})
        text = _running(found)
    else:
        found = _stopped(state)
        text = _not_running(found)
    settings.output.result(found, text)


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


def _not_running(found: dict[str, Any]) -> str:
    pid = found["pid"]
    return fields(
        [
            ("node", "not running" if pid is None else f"starting or stopping (process {pid})"),
            ("id", found["id"] or "none yet: the first `irosh host` or `irosh connect` makes one"),
            ("state", found["state"]),
        ]
    )


def _running(found: dict[str, Any]) -> str:
    kind = "host" if found["hosting"] else "client"
    lost = found["audit_entries_lost"]
    summary = fields(
        [
            ("node", f"{kind}, process {found['pid']}, up {age(found['started_at'])}, irosh {found['version']}"),
            ("id", found["id"]),
            ("state", found["state"]),
            ("addresses", " ".join(found["addresses"])),
            ("relays", " ".join(found["relays"])),
            ("audit", f"{lost} entries could not be written: is the disk full?" if lost else ""),
        ]
    )
    connections = [_row(connection) for connection in found["connections"]]
    if not connections:
        return f"{summary}\n\nNo connections."
    return f"{summary}\n\n{table(('PEER', 'DIRECTION', 'PATH', 'RTT', 'STREAMS', 'SINCE', 'REMOTE'), connections)}"


def _row(connection: dict[str, Any]) -> tuple[str, ...]:
    carriers = connection["carriers"]
    remotes = [next((path["remote"] for path in each["paths"] if path["selected"]), "-") for each in carriers]
    return (
        connection["peer"] or connection["id"][:10],
        connection["direction"],
        connection["path"] + (f", {connection['uses_paths']} of {len(carriers)}" if len(carriers) > 1 else ""),
        milliseconds(connection["rtt_ms"]),
        str(connection["streams"]),
        age(connection["since"]),
        " ".join(remotes) or "-",
    )
