"""The node a command works with: the one that runs already, or one in this process for as long as it is used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.state import StateDirectory
from irosh.faces.cli.options import Settings
from irosh.faces.cli.output import Output
from irosh.node.control_client import ControlClient, attach


@contextmanager
def control_client(settings: Settings, output: Output) -> Iterator[ControlClient]:
    """Attach to the node of the state directory, or start one that ends when nobody uses it any more."""
    state = StateDirectory(settings.state_path)
    if (client := attach(state.control_socket_path)) is not None:
        with client:
            yield client
        return
    # Only now: asyncio alone takes longer to import than attaching takes.
    from irosh.faces.cli.background_node import BackgroundNode

    with BackgroundNode(settings, output) as node, ControlClient(state.control_socket_path) as client:
        yield client
        client.close()
        node.finish()


def running_node(settings: Settings) -> ControlClient:
    """Attach to the running node. ``IroshError`` (not-running)."""
    state = StateDirectory(settings.state_path)
    client = attach(state.control_socket_path)
    if client is None:
        raise IroshError(
            ErrorCode.NOT_RUNNING, f"no node is running with state {state.path}", "start one with `irosh host`"
        )
    return client
