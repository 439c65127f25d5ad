"""The control operations of the node itself; services add their own."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from irosh import __version__
from irosh.core.errors import ErrorCode, IroshError
from irosh.node.control import Channel, Operation, parsed_request
from irosh.node.link_ending import end_operation
from irosh.node.metrics.summary import session_summary, stream_summaries
from irosh.node.node import InviteTerms, Node
from irosh.node.peer_admin import PeerAdmin
from irosh.node.peer_connection import PeerConnection
from irosh.transport.interfaces import Path
from irosh.transport.session.carrier import Carrier

MAX_STREAMS_SHOWN = 4000  # of all connections, so that a status fits a control frame


class InviteRequest(msgspec.Struct):
    """Operation ``invite``; what is None comes from the configuration. ``lifetime`` in seconds."""

    capabilities: list[str] | None = None
    uses: int | None = None
    lifetime: float | None = None
    factors: list[str] | None = None


class PeersRequest(msgspec.Struct):
    """Operation ``peers``: a command of :class:`PeerAdmin`."""

    command: str
    arguments: dict[str, Any] = {}


def node_operations(node: Node) -> dict[str, Operation]:
    """``status``, ``stop``, ``invite``, ``peers``, ``metrics`` and ``history``."""
    admin = PeerAdmin(node.trust, node.close_peer)

    async def status(channel: Channel, _request: dict[str, Any]) -> None:
        await channel.answer(node_status(node))

    async def stop(channel: Channel, _request: dict[str, Any]) -> None:
        await channel.answer()
        node.stop()

    async def invite(channel: Channel, request: dict[str, Any]) -> None:
        if not node.hosting:
            raise IroshError(
                ErrorCode.NOT_RUNNING,
                "the running node is no host: it lets nobody in",
                "start one with `irosh host`",
            )
        asked = parsed_request(request, InviteRequest)
        capabilities = None if asked.capabilities is None else tuple(asked.capabilities)
        factors = None if asked.factors is None else tuple(asked.factors)
        await channel.answer(make_invite(node, InviteTerms(capabilities, asked.uses, asked.lifetime, factors)))

    async def peers(channel: Channel, request: dict[str, Any]) -> None:
        asked = parsed_request(request, PeersRequest)
        await channel.answer(admin.run(asked.command, asked.arguments))

    async def metrics(channel: Channel, _request: dict[str, Any]) -> None:
        await channel.answer({"text": (await node.metrics_text()).decode()})

    async def history(channel: Channel, _request: dict[str, Any]) -> None:
        """Have the history in the database reach up to now; whoever asks reads it there."""
        node.collector.recorder.write(present=True)
        await channel.answer()

    return {
        "status": status,
        "stop": stop,
        "invite": invite,
        "peers": peers,
        "metrics": metrics,
        "history": history,
        "link.end": end_operation(node),
    }


def make_invite(node: Node, terms: InviteTerms) -> dict[str, Any]:
    """A ticket with a fresh invite."""
    invite = node.create_invite(terms)
    ticket = node.ticket(invite.secret)
    return {
        "ticket": ticket.encode(),
        "id": node.identity.id,
        "mode": str(ticket.mode),
        "addresses": list(ticket.addresses),
        "relays": list(ticket.relays),
        "npub": ticket.npub,
        "nostr_relays": list(ticket.nostr_relays),
        "capabilities": [str(capability) for capability in invite.capabilities],
        "uses": invite.uses,
        "expires_at": invite.expires_at,
        "require": [str(factor) for factor in invite.factors],
    }


def node_status(node: Node) -> dict[str, Any]:
    """The node and its connections, for ``irosh status``."""
    contact = node.modes.contact()
    connections = node.links.connections()
    shown = MAX_STREAMS_SHOWN // max(1, len(connections))
    return {
        "running": True,
        "version": __version__,
        "pid": os.getpid(),
        "id": node.identity.id,
        "state": str(node.state.path),
        "hosting": node.hosting,
        "modes": [str(mode) for mode in node.modes.hosted],
        "npub": contact.npub,
        "started_at": node.started_at,
        "addresses": list(contact.addresses),
        "relays": list(contact.relays),
        "connections": [_connection_status(node, connection, shown) for connection in connections],
        "audit_entries_lost": node.auditor.lost_entries,
        "history_rows_lost": node.collector.recorder.lost_rows,
        "metrics_url": node.metrics_url,
    }


def _connection_status(node: Node, connection: PeerConnection, shown: int) -> dict[str, Any]:
    node.collector.refresh(connection)
    peer = node.trust.get(connection.peer_id)
    return {
        "peer": peer.petname if peer else None,
        "id": connection.peer_id,
        "direction": "outgoing" if connection.dialed else "incoming",
        "since": connection.since,
        "streams": connection.serving,
        "uses_paths": str(connection.session.uses),
        "carriers": [_carrier_status(carrier) for carrier in connection.session.carriers()],
        **path_summary(connection),
        **session_summary(connection),
        "open_streams": len(connection.streams),
        "stream_list": stream_summaries(connection, max(5, shown)),
    }


def _carrier_status(carrier: Carrier) -> dict[str, Any]:
    """One of the connections that carry a session: ``local`` is the address it is bound to, if it is to one."""
    return {"local": carrier.local, "since": carrier.since, **_paths_status(carrier.connection.paths())}


def path_summary(connection: PeerConnection) -> dict[str, Any]:
    """``path`` (direct, relayed or none), ``rtt_ms`` of the path in use, all ``paths``; ``via``: names of hops."""
    via = connection.via if connection.through is None else (connection.through,)
    return {**_paths_status(connection.session.paths()), "via": list(via)}


def _paths_status(paths: list[Path]) -> dict[str, Any]:
    selected = next((path for path in paths if path.selected), None)
    return {
        "path": "none" if selected is None else "relayed" if selected.relayed else "direct",
        "rtt_ms": None if selected is None else round(selected.rtt * 1000, 3),
        "paths": [
            {
                "remote": path.remote,
                "relayed": path.relayed,
                "selected": path.selected,
                "rtt_ms": round(path.rtt * 1000, 3),
                "bytes_sent": path.bytes_sent,
                "bytes_received": path.bytes_received,
                "lost_packets": path.lost_packets,
                "mtu": path.mtu,
            }
            for path in paths
        ],
    }
