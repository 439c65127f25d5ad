"""The names a gateway shows to its peers, and asking a gateway for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.gateway_list import MAX_ENTRIES, address_of, check_entry, checked_entries
from irosh.node.actions import Action, Use
from irosh.node.control import Channel, Operation, parsed_request
from irosh.node.exchange import ChannelExchange
from irosh.node.node import Node
from irosh.node.peer_connection import PeerConnection
from irosh.node.services import IncomingStream
from irosh.node.target_request import TargetRequest
from irosh.transport.framing import read_frame, write_frame

READ_DEADLINE = 15.0
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
        self._lists: dict[int, dict[str, str]] = {}
        self._last = 0

    def required(self, request: Any) -> Sequence[Action]:
        return (Use(("gateway",)),)

    async def serve(self, incoming: IncomingStream) -> None:
        """Tell the peer the names of those machines to which it may go on; not the others."""
        permitted = incoming.connection.authorizer.may_reach
        entries = [
            (name, url)
            for served in self._lists.values()
            for name, url in served.items()
            if permitted(incoming.connection.peer_id, "gateway", address_of(check_entry(name, url)))
        ]
        await incoming.accept()
        for start in range(0, max(1, len(entries)), _BATCH):
            batch = NamesBatch(dict(entries[start : start + _BATCH]), more=start + _BATCH < len(entries))
            await write_frame(incoming.stream, batch)
        await incoming.stream.finish()

    def operations(self, node: Node) -> dict[str, Operation]:
        async def serve(channel: Channel, request: dict[str, Any]) -> None:
            await channel.while_connected(self._serve_names(node, channel, parsed_request(request, ServeRequest)))

        async def names(channel: Channel, request: dict[str, Any]) -> None:
            asked = parsed_request(request, TargetRequest)
            await channel.while_connected(_list(node, channel, asked))

        return {"gateway.serve": serve, "gateway.list": names}

    async def _serve_names(self, node: Node, channel: Channel, asked: ServeRequest) -> None:
        if not node.hosting:
            raise IroshError(
                ErrorCode.NOT_RUNNING, "the running node is no host: nobody comes to it", "start one with `irosh host`"
            )
        for name, url in asked.entries.items():
            check_entry(name, url)
        number = self._last = self._last + 1
        self._lists[number] = dict(asked.entries)
        try:
            await channel.event("serving", names=sorted(asked.entries))
            await asyncio.Event().wait()
        finally:
            del self._lists[number]


async def _list(node: Node, channel: Channel, asked: TargetRequest) -> None:
    reached = await node.reach(asked, ChannelExchange(channel))
    entries = await served_names(reached.connection)
    await channel.answer({"gateway": reached.peer.petname, "names": entries})


async def served_names(connection: PeerConnection) -> dict[str, str]:
    """URLs by name, of what the peer at ``connection`` is a gateway to. ``IroshError`` (denied, …)."""
    opened = await connection.open("gateway", NamesRequest())
    await opened.answer()
    entries: dict[str, str] = {}
    try:
        more = True
        while more and len(entries) <= MAX_ENTRIES:
            batch = await read_frame(opened.stream, NamesBatch, deadline=READ_DEADLINE)
            entries |= batch.entries
            more = batch.more and bool(batch.entries)
    finally:
        await opened.stream.close()
    return checked_entries(entries)


async def named_server(connection: PeerConnection, gateway: str, name: str) -> str:
    """The URL that the gateway has for ``name``. ``IroshError`` (unknown-target) when there is none."""
    entries = await served_names(connection)
    url = next((url for known, url in entries.items() if known.lower() == name.lower()), None)
    if url is None:
        raise IroshError(
            ErrorCode.UNKNOWN_TARGET,
            f"{gateway} serves no machine named {name[:64]!r} to this one",
            f"`irosh gateway list {gateway}` shows those it does",
        )
    return url
