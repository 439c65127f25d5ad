"""Service ``files``: transfers of whole files and folders. A process of its own does the work at each end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.file_tree import EVERYTHING, FileTree
from irosh.node.accounts import DEFAULT_USER, Account, find_account, is_own_account
from irosh.node.actions import Action, AsUser, Files
from irosh.node.control import Channel, Operation, parsed_request
from irosh.node.exchange import ChannelExchange
from irosh.node.handed_socket import join_handed_socket
from irosh.node.link_events import link_events
from irosh.node.node import Node
from irosh.node.operations import reached_summary
from irosh.node.peer_connection import PeerConnection
from irosh.node.places import Places
from irosh.node.services import IncomingStream
from irosh.services.files.transfer.messages import FilesRequest, TransferRequest
from irosh.services.files.transfer.setup import Setup
from irosh.services.files.transfer.wire import widen
from irosh.transport.interfaces import SpliceCounters
from irosh.transport.socket_owner import in_this_process
from irosh.transport.sockets import closed_on_failure
from irosh.transport.tasks import to_the_end

log = logging.getLogger(__name__)

_END_GRACE = 15.0  # seconds for a worker to put in place what has arrived whole


class FilesService:
    """Service ``files``; see :class:`irosh.node.services.Service`."""

    name = "files"
    request_type = FilesRequest

    def __init__(self, programs: Places) -> None:
        self._programs = programs
        self._transfers: dict[socket.socket, PeerConnection] = {}

    def required(self, request: Any) -> Sequence[Action]:
        assert isinstance(request, FilesRequest)
        use = Files(request.summary)
        return (use,) if is_own_account(request.user) else (use, AsUser(request.user))

    async def serve(self, incoming: IncomingStream) -> None:
        await self._programs.serve(incoming, self._serve)

    async def _serve(self, incoming: IncomingStream) -> None:
        request: FilesRequest = incoming.request
        trees = incoming.grants[0].trees
        ours, theirs = socket.socketpair()
        widen(ours)
        widen(theirs)  # before it belongs to an account that may do less
        try:
            with theirs:
                if request.writing and all(tree.read_only for tree in trees):
                    raise IroshError(
                        ErrorCode.DENIED,
                        "this peer may only read files here",
                        f"the host's owner can allow it: irosh peer allow NAME 'files:{trees[0].path}'",
                    )
                worker = await _start(find_account(request.user), trees, theirs, writing=request.writing)
        except IroshError as error:
            ours.close()
            await incoming.refuse(error)
            return
        except BaseException:
            ours.close()
            raise
        try:
            self._end_abandoned(incoming.connection)
            self._transfers[ours] = incoming.connection
            with closed_on_failure(ours):
                await incoming.accept()
            await incoming.stream.splice(ours, SpliceCounters())
        finally:
            self._transfers.pop(ours, None)
            await to_the_end(_end(worker))

    def _end_abandoned(self, connection: PeerConnection) -> None:
        """End what the peer's node left behind when it was started anew: its session may seem alive for a while yet.

        Meanwhile nobody could go on with the files it holds.
        """
        for sock, other in self._transfers.items():
            if other.peer_id == connection.peer_id and other.instance != connection.instance and not other.dialed:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def operations(self, node: Node) -> dict[str, Operation]:
        async def transfer(channel: Channel, request: dict[str, Any]) -> None:
            await _transfer(node, channel, request)

        return {"files.transfer": transfer}


async def _transfer(node: Node, channel: Channel, request: dict[str, Any]) -> None:
    """Operation ``files.transfer``: a stream by a socket of the command's, which is told of the link meanwhile."""
    asked = parsed_request(request, TransferRequest)
    reached = await channel.while_connected(node.reach(asked, ChannelExchange(channel)))
    opened = await reached.connection.open("files", FilesRequest(asked.user or DEFAULT_USER, asked.writing))
    await opened.answer()
    await channel.event("connected", **reached_summary(reached))

    async def join(sock: socket.socket) -> Exception | None:
        if not in_this_process(sock):  # where both would only keep each other from running
            widen(sock)
        async with link_events(reached.connection.session, channel):
            return await opened.stream.splice(sock, SpliceCounters())

    await join_handed_socket(channel, {}, join)


async def _start(
    account: Account, trees: Sequence[FileTree], sock: socket.socket, *, writing: bool
) -> asyncio.subprocess.Process:
    setup = Setup(
        sock.fileno(),
        writing,
        account.home,
        (account.uid, account.gid, list(account.groups)) if account.switch else None,
        [] if EVERYTHING in trees else [(tree.path, tree.read_only) for tree in trees],
    )
    # The account may not be able to read where the program is: it is loaded first, then becomes the account. Nothing
    # is loaded from the account's own packages (-s), which would run with the host's rights.
    environment = {**account.environment(), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [
        sys.executable,
        "-P",
        "-s",
        "-m",
        "irosh.services.files.transfer.worker",
        msgspec.json.encode(setup).decode(),
    ]
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            cwd="/",
            env=environment,
            pass_fds=(sock.fileno(),),
            start_new_session=True,
        )
    except OSError as error:
        raise IroshError(ErrorCode.INTERNAL, f"cannot start a process for the transfer: {error.strerror}") from error


async def _end(worker: asyncio.subprocess.Process) -> None:
    """It ends by itself when its socket does; it is made to if not."""
    for insist in (worker.terminate, worker.kill):
        try:
            async with asyncio.timeout(_END_GRACE):
                await worker.wait()
                return
        except TimeoutError:
            log.warning("the worker of a transfer does not end: process %d", worker.pid)
            insist()
    await worker.wait()
