"""The names a gateway shows to its peers, and asking a gateway for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.gateway_list import MAX_ENTRIES, checked_entries
from irosh.core.trust import TrustStore
from irosh.core.wire import Welcome
from irosh.node.actions import Action, Use
from irosh.node.control import Channel, Operation, parsed_request
from irosh.node.exchange import ChannelExchange
from irosh.node.node import Node
from irosh.node.peer_connection import PeerConnection
from irosh.node.services import IncomingStream
from irosh.node.target_request import TargetRequest
from irosh.transport.framing import read_frame, write_frame

READ_DEADLINE = 15.0
LIST_DEADLINE = 60.0  # seconds for all of a list
_BATCH = 50  # names in one frame, which has to fit


class NamesRequest(msgspec.Struct):
    """Asks a gateway for the names it serves."""


class NamesBatch(msgspec.Struct):
    """Some of them: URLs by name. ``more``: further batches follow."""

    entries: dict[str, str]
    more: bool = False


class ServeRequest(msgspec.Struct):
    """Operation ``gateway.serve``: URLs by name."""

    entries: dict[str, str]


class GatewayService:
    """Service ``gateway``; see :class:`irosh.node.services.Service`."""

    name = "gateway"
    request_type = NamesRequest

    def __init__(self) -> None:
        self._node: Node | None = None

    def required(self, request: Any) -> Sequence[Action]:
        return (Use(("gateway",)),)

    async def serve(self, incoming: IncomingStream) -> None:
        """Tell the peer the names of those machines to which it may go on; not the others."""
        assert self._node is not None
        entries = list(self._node.machines.to_peer(incoming.connection.peer_id).entries.items())
        await incoming.accept()
        for start in range(0, max(1, len(entries)), _BATCH):
            batch = NamesBatch(dict(entries[start : start + _BATCH]), more=start + _BATCH < len(entries))
            await write_frame(incoming.stream, batch)
        await incoming.stream.finish()

    def operations(self, node: Node) -> dict[str, Operation]:
        self._node = node

        async def learn(connection: PeerConnection, welcome: Welcome) -> None:
            await _learn(node.trust, connection, welcome)

        async def serve(channel: Channel, request: dict[str, Any]) -> None:
            await channel.while_connected(_serve_names(node, channel, parsed_request(request, ServeRequest)))

        async def names(channel: Channel, request: dict[str, Any]) -> None:
            asked = parsed_request(request, TargetRequest)
            await channel.while_connected(_list(node, channel, asked))

        node.links.on_welcome.append(learn)
        return {"gateway.serve": serve, "gateway.list": names}


async def _serve_names(node: Node, channel: Channel, asked: ServeRequest) -> None:
    if not node.hosting:
        raise IroshError(
            ErrorCode.NOT_RUNNING, "the running node is no host: nobody comes to it", "start one with `irosh host`"
        )
    with node.machines.showing(asked.entries):
        await channel.event("serving", names=sorted(asked.entries))
        await asyncio.Event().wait()


async def _list(node: Node, channel: Channel, asked: TargetRequest) -> None:
    reached = await node.reach(asked, ChannelExchange(channel))
    entries = await served_names(node.trust, reached.connection)
    await channel.answer({"gateway": reached.peer.petname, "names": entries})


async def _learn(trust: TrustStore, connection: PeerConnection, welcome: Welcome) -> None:
    """Remember what a peer leads to, which it is asked for only when its welcome says that this has changed."""
    known = trust.machines.digest(connection.peer_id)
    if welcome.machines == known:
        trust.machines.confirm(connection.peer_id)
    elif welcome.machines:
        await served_names(trust, connection)
    else:
        trust.machines.remember(connection.peer_id, {})


async def served_names(trust: TrustStore, connection: PeerConnection) -> dict[str, str]:
    """URLs by name, of what the peer at ``connection`` is a gateway to, which is remembered. ``IroshError``."""
    try:
        async with asyncio.timeout(LIST_DEADLINE):
            entries = await _asked(connection)
    except TimeoutError:
        raise IroshError(ErrorCode.TIMEOUT, f"no whole list within {LIST_DEADLINE:g} s") from None
    except IroshError as error:
        if error.code is ErrorCode.DENIED:
            trust.machines.remember(connection.peer_id, {})
        raise
    trust.machines.remember(connection.peer_id, entries)
    return checked_entries(entries)


async def _asked(connection: PeerConnection) -> dict[str, str]:
    opened = await connection.open("gateway", NamesRequest())
    await opened.answer()
    entries: dict[str, str] = {}
    more, new = True, True
    try:
        while more and new and len(entries) < MAX_ENTRIES:
            batch = await read_frame(opened.stream, NamesBatch, deadline=READ_DEADLINE)
            more, new = batch.more, not batch.entries.keys() <= entries.keys()  # or it might never end
            entries |= batch.entries
    finally:
        await (opened.stream.abort() if more else opened.stream.close())
    return entries


async def named_server(trust: TrustStore, connection: PeerConnection, gateway: str, name: str) -> str:
    """The URL that the gateway has for ``name``. ``IroshError`` (unknown-target) when there is none."""
    entries = await served_names(trust, connection)
    url = next((url for known, url in entries.items() if known.lower() == name.lower()), None)
    if url is None:
        raise IroshError(
            ErrorCode.UNKNOWN_TARGET,
            f"{gateway} serves no machine named {name[:64]!r} to this one",
            f"`irosh gateway list {gateway}` shows those it does",
        )
    return url
