"""The operations about forwards: those that a command holds, and those that the node holds itself."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.socket_spec import parse_source
from irosh.node.control import Channel, Operation, parsed_request
from irosh.node.exchange import ChannelExchange
from irosh.node.forward_way import FindWay, ForwardWay
from irosh.node.handed_socket import join_handed_socket
from irosh.node.kept_link import KeptLink
from irosh.node.node import Node, Reached
from irosh.node.operations import reached_summary
from irosh.node.target_request import TargetRequest
from irosh.node.targets import resolve_target
from irosh.node.ways import Way
from irosh.services.tunnel.forward import Forward, LinkContext, Report, WayContext
from irosh.services.tunnel.forward_set import ForwardSet, kept
from irosh.services.tunnel.messages import ForwardCommand, ForwardText, HoldRequest, StdioRequest, TunnelRequest
from irosh.services.tunnel.promises import Promises
from irosh.transport.interfaces import SpliceCounters
from irosh.transport.tasks import TaskSet, first_to_end, task_group

log = logging.getLogger(__name__)

MAX_QUESTIONS = 64  # of one command, that wait for their answers

Place = tuple[str, Way | None]
"""Where forwards lead that the node holds: to which peer, and by which way."""


class Forwarding:
    """All forwards of one node that asks for them."""

    def __init__(self, node: Node, promises: Promises, find_way: FindWay, *, udp_idle: float) -> None:
        self._node = node
        self._promises = promises
        self._find_way = find_way
        self._udp_idle = udp_idle
        self._sets: list[ForwardSet] = []
        self._held: dict[Place, ForwardSet] = {}
        self._holding = TaskSet()

    def operations(self) -> dict[str, Operation]:
        """See :meth:`irosh.node.services.Service.operations`."""
        return {"forward.open": self._open, "forward.hold": self._hold, "tunnel.stdio": self._stdio}

    async def aclose(self) -> None:
        """End the forwards that the node holds."""
        await self._holding.close()

    # -- held by a command

    async def _open(self, channel: Channel, request: dict[str, Any]) -> None:
        """Operation ``forward.open``: forwards that live as long as the client stays attached.

        The event ``connected`` comes first; from then on the client sends each :class:`ForwardCommand` as it likes.
        """
        if (found := self._find_way(channel, request)) is not None:
            async with found as way:
                await _forward_by(way, channel)
            return
        asked = parsed_request(request, TargetRequest)
        reached = await channel.while_connected(self._node.reach(asked, ChannelExchange(channel)))
        link = KeptLink()
        context = self._context(reached, link.report)
        forwards = ForwardSet(context, reached.destination)
        with self._known(forwards):
            async with kept(forwards, context, link):
                await channel.event("connected", **reached_summary(reached), node=os.getpid())
                await first_to_end(link.tell(channel), _obey(channel, forwards))

    def _context(self, reached: Reached, report: Report) -> LinkContext:
        return LinkContext(report, self._node, reached.destination, self._udp_idle, self._promises)

    @contextmanager
    def _known(self, forwards: ForwardSet) -> Iterator[None]:
        self._sets.append(forwards)
        try:
            yield
        finally:
            self._sets.remove(forwards)

    # -- held by the node

    async def _hold(self, channel: Channel, request: dict[str, Any]) -> None:
        """Operation ``forward.hold``: as an OpenSSH master does, begin or end forwards that need no command.

        ``cancel`` and ``list`` are also about those that commands hold.
        """
        asked = parsed_request(request, HoldRequest)
        if asked.command == "add":
            forward = await channel.while_connected(self._add(asked, channel))
            await channel.answer({"forward": forward.to_dict()})
            return
        exchange = ChannelExchange(channel)  # which is not needed, as nobody is dialled
        destination = resolve_target(self._node.trust, self._node.identity.id, asked, exchange).destination
        sets = [forwards for forwards in self._sets if forwards.goes_to(destination)]
        if asked.command == "cancel":
            await _cancel(_required(asked.forward), sets)
        await channel.answer(
            {
                "connected": any(not each.retirement.begun for each in self._node.links.there(destination)),
                "forwards": [state for forwards in sets for state in forwards.states()],
            }
        )

    async def _add(self, asked: HoldRequest, channel: Channel) -> Forward:
        wanted = _required(asked.forward)
        reached = await self._node.reach(asked, ChannelExchange(channel))
        place = reached.peer.id, reached.destination.way
        forwards = self._held.get(place)
        if forwards is not None:
            with forwards.in_use():
                return await forwards.add(wanted)
        context = self._context(reached, _noted)
        forwards = ForwardSet(context, reached.destination)
        self._held[place] = forwards
        with forwards.in_use():
            ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._holding.start(self._keep(place, forwards, context, ready))
            await ready
            return await forwards.add(wanted)

    async def _keep(
        self, place: Place, forwards: ForwardSet, context: LinkContext, ready: asyncio.Future[None]
    ) -> None:
        """Hold ``forwards`` until there is none any more, or nothing can be done for them."""
        link = KeptLink()
        try:
            with self._known(forwards):
                async with kept(forwards, context, link):
                    if not ready.done():  # the command may have left
                        ready.set_result(None)
                    while not forwards.is_unused:
                        await first_to_end(link.until_ended(), forwards.wait_unused())
                    del self._held[place]  # before anything is waited for: nobody adds to it any more
        except IroshError as error:
            if not ready.done():
                ready.set_exception(error)
            log.warning("forwards to %s have ended: %s", place[0][:10], error.message)
        finally:
            if self._held.get(place) is forwards:
                del self._held[place]

    # -- one connection on standard input and output

    async def _stdio(self, channel: Channel, request: dict[str, Any]) -> None:
        """Operation ``tunnel.stdio``: one connection, carried by a socket that the client hands over."""
        asked = parsed_request(request, StdioRequest)
        source = parse_source(asked.source)
        if (found := self._find_way(channel, request)) is not None:
            async with found as way:
                stream = await channel.while_connected(way.open(source))
                await join_handed_socket(channel, way.connected, lambda sock: stream.splice(sock, SpliceCounters()))
            return
        reached = await channel.while_connected(self._node.reach(asked, ChannelExchange(channel)))
        opened = await reached.connection.open("tunnel", TunnelRequest(str(source)))
        await opened.answer()
        fields = reached_summary(reached)
        await join_handed_socket(channel, fields, lambda sock: opened.stream.splice(sock, SpliceCounters()))


async def _forward_by(way: ForwardWay, channel: Channel) -> None:
    """Forwards of a command to a target through other machines; they end with the way."""
    link = KeptLink()
    forwards = ForwardSet(WayContext(link.report, way))
    try:
        await channel.event("connected", **way.connected)
        await first_to_end(way.until_lost(), link.tell(channel), _obey(channel, forwards))
    finally:
        await forwards.aclose()
        link.ended.cancel()


async def _obey(channel: Channel, forwards: ForwardSet) -> None:
    """Answer the questions of the client until it leaves. Each has a task: some take long."""
    places = asyncio.Semaphore(MAX_QUESTIONS)
    async with task_group() as group:
        while True:
            await places.acquire()
            command = parsed_request(await channel.receive_message(), ForwardCommand)
            answering = group.create_task(_answer(channel, forwards, command))
            answering.add_done_callback(lambda _done: places.release())


async def _answer(channel: Channel, forwards: ForwardSet, command: ForwardCommand) -> None:
    try:
        fields = await _do(forwards, command)
    except IroshError as error:
        await channel.event("answer", number=command.number, error=error.to_dict())
    else:
        await channel.event("answer", number=command.number, **fields)


async def _do(forwards: ForwardSet, command: ForwardCommand) -> dict[str, Any]:
    match command.command:
        case "add":
            return {"forward": (await forwards.add(_required(command.forward))).to_dict()}
        case "cancel":
            await _cancel(_required(command.forward), [forwards])
        case "idle":
            await forwards.wait_idle()
    return {"forwards": forwards.states()}


async def _cancel(wanted: ForwardText, sets: list[ForwardSet]) -> None:
    for forwards in sets:
        if (forward := forwards.find(wanted)) is not None:
            await forwards.cancel(forward)
            return
    raise IroshError(
        ErrorCode.USAGE,
        f"there is no forward -{wanted.kind} {wanted.text}",
        "it is named as it was asked for, or by where it listens",
    )


def _required(forward: ForwardText | None) -> ForwardText:
    if forward is None:
        raise IroshError(ErrorCode.PROTOCOL, "which forward?")
    return forward


def _noted(event: str, fields: dict[str, Any]) -> None:
    """What happens to forwards that the node holds: there is no command to tell."""
    log.info("forward %s: %s", event, fields)
