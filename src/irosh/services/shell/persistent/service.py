"""Service ``session``: sessions that outlive connections, and shared ones."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from irosh.core.errors import IroshError
from irosh.node.accounts import is_own_account
from irosh.node.actions import MAY_SHARE, Action, AsUser, Use
from irosh.node.control import Channel, Operation, parsed_request
from irosh.node.exchange import ChannelExchange
from irosh.node.node import Node
from irosh.node.services import IncomingStream
from irosh.services.shell.adoption import Adoptables
from irosh.services.shell.moving import MovableSessions
from irosh.services.shell.persistent.messages import (
    AttachRequest,
    ManageRequest,
    MoveRequest,
    SessionRequest,
    ShareRequest,
    checked_name,
)
from irosh.services.shell.persistent.pace import Pace

if TYPE_CHECKING:
    from irosh.services.shell.persistent.host import SessionHost

log = logging.getLogger(__name__)


class SessionService:
    """See :class:`irosh.node.services.Service`. What it is made of is imported when it is first used."""

    name = "session"
    request_type = SessionRequest

    def __init__(self) -> None:
        self.pace = Pace()
        self.adoptables = Adoptables(self.pace)
        self.movable = MovableSessions()
        self._node: Node | None = None
        self._host: SessionHost | None = None

    @property
    def host(self) -> SessionHost:
        """This node's own sessions."""
        if self._host is None:
            from irosh.services.shell.persistent.host import SessionHost

            assert self._node is not None
            self._host = SessionHost(self._node, self.adoptables, self.pace)
        return self._host

    def required(self, request: Any) -> Sequence[Action]:
        assert isinstance(request, SessionRequest)
        if request.purpose == "join":
            return (Use(("join",)),)  # a way in: which session is decided when it is known
        if request.purpose == "manage":
            return (Use(("shell", "exec")),)
        if request.purpose == "adopt":
            return (MAY_SHARE, Use(("shell", "exec")))
        wanted = Use(("exec",) if request.command is not None else ("shell",)) if request.create else None
        user = request.user
        as_user = () if user is None or is_own_account(user) else (AsUser(user),)
        return (wanted or Use(("shell", "exec")), *as_user)

    async def serve(self, incoming: IncomingStream) -> None:
        request: SessionRequest = incoming.request
        try:
            if request.name is not None:
                checked_name(request.name)
            host = self.host
            prepare = {"attach": host.attach, "adopt": host.adopt, "join": host.join, "manage": host.manage}
            serve = await prepare[request.purpose](incoming, request)
        except IroshError as error:
            await incoming.refuse(error)
            return
        await incoming.accept()
        await serve()

    def operations(self, node: Node) -> dict[str, Operation]:
        self._node = node

        async def attach(channel: Channel, request: dict[str, Any]) -> None:
            asked = parsed_request(request, AttachRequest)
            if asked.session.name is not None:
                checked_name(asked.session.name)
            if not asked.target:
                await self.host.attach_here(channel, asked.session)
                return
            from irosh.services.shell.persistent.client import attach_to_peer

            reached = await channel.while_connected(node.reach(asked, ChannelExchange(channel)))
            await attach_to_peer(reached, channel, asked.session)

        async def manage(channel: Channel, request: dict[str, Any]) -> None:
            asked = parsed_request(request, ManageRequest)
            if not asked.target:
                await channel.answer(self.host.manage_here(asked))
                return
            from irosh.services.shell.persistent.client import manage_at_peer

            reached = await channel.while_connected(node.reach(asked, ChannelExchange(channel)))
            await channel.answer(await channel.while_connected(manage_at_peer(reached, asked)))

        async def share(channel: Channel, request: dict[str, Any]) -> None:
            await self.host.share(channel, parsed_request(request, ShareRequest))

        async def move(channel: Channel, request: dict[str, Any]) -> None:
            asked = parsed_request(request, MoveRequest)
            await channel.answer({"session": await channel.while_connected(self.movable.move(asked.handle))})

        return {"session.attach": attach, "session.manage": manage, "session.share": share, "session.move": move}

    async def aclose(self) -> None:
        """End all sessions of this node."""
        if self._host is not None:
            await self._host.aclose()
