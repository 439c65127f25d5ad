"""Commands about peers, invites and the audit, whether or not a node runs on the state directory."""

from __future__ import annotations

from typing import Any

from irosh.core.state import StateDirectory
from irosh.faces.cli.options import Settings
from irosh.node.control_client import attach

# These are answered from the trust store even while a node runs: it may be read by any process, at any length,
# whereas an answer on the control socket has to fit a frame.
_READING = frozenset({"list", "show", "invites", "audit"})


def administer(settings: Settings, command: str, **arguments: Any) -> dict[str, Any]:
    """Run a command of :class:`irosh.node.peer_admin.PeerAdmin` and return its answer.

    A running node makes the change itself, so that it can close the connections of a peer that loses its access;
    otherwise the trust store is changed directly. Raises ``IroshError`` as the command does.
    """
    state = StateDirectory(settings.state_path)
    if command not in _READING and (client := attach(state.control_socket_path)) is not None:
        with client:
            return client.call("peers", {"command": command, "arguments": arguments})
    from irosh.core.trust import TrustStore
    from irosh.node.peer_admin import PeerAdmin

    with TrustStore(state.ensure().database_path) as trust:
        return PeerAdmin(trust, close=lambda _peer_id, _reason: 0).run(command, arguments)
