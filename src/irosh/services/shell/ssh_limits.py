"""How much one SSH connection may have open or waiting on the host. The SSH library itself sets no bound to any of it.

It looks up what handles a message by its number, and what handles a request by its name: that is where ours goes in.
Where it is made otherwise, nothing is done.
"""

from __future__ import annotations

from typing import Any

import asyncssh
from asyncssh.constants import MSG_CHANNEL_OPEN, MSG_GLOBAL_REQUEST
from asyncssh.packet import SSHPacket

from irosh.node.accounts import is_accepted_variable
from irosh.services.shell.adoption import HANDLE, LONGEST_HANDLE

MAX_CHANNELS = 1024  # sessions and forwarded connections
MAX_REQUESTS = 256  # such as for a listener, that wait for one before them to be answered
MAX_VARIABLES = 64  # of one session's environment

_ENVIRONMENT_HANDLER = "_process_env_request"


def limit_connection(connection: Any) -> None:
    """Refuse further channels when there are many; end a connection on which too many requests wait."""
    handlers = getattr(connection, "_packet_handlers", {})
    open_channel, request = handlers.get(MSG_CHANNEL_OPEN), handlers.get(MSG_GLOBAL_REQUEST)
    if open_channel is None or request is None:
        return

    def channel_opened(connection: Any, kind: int, number: int, packet: SSHPacket) -> Any:
        if len(connection._channels) < MAX_CHANNELS:
            return open_channel(connection, kind, number, packet)
        packet.get_string()
        theirs, reason = packet.get_uint32(), "too many channels"
        return connection.send_channel_open_failure(theirs, asyncssh.OPEN_RESOURCE_SHORTAGE, reason, "en")

    def requested(connection: Any, kind: int, number: int, packet: SSHPacket) -> Any:
        if len(connection._global_request_queue) >= MAX_REQUESTS:
            raise asyncssh.ProtocolError("too many requests at once")
        return request(connection, kind, number, packet)

    connection._packet_handlers = {**handlers, MSG_CHANNEL_OPEN: channel_opened, MSG_GLOBAL_REQUEST: requested}


def limit_environment(chan: Any) -> None:
    """Have the session on ``chan`` remember only what its program may be told, and not much of that."""
    handle = getattr(chan, _ENVIRONMENT_HANDLER, None)
    if handle is None:
        return
    taken: set[str] = set()

    def asked(packet: SSHPacket) -> Any:
        look = SSHPacket(packet.get_remaining_payload())
        name, value = (look.get_string().decode(errors="replace") for _ in range(2))
        if not (is_accepted_variable(name, value) or (name == HANDLE and len(value) <= LONGEST_HANDLE)):
            return False
        if name not in taken and len(taken) >= MAX_VARIABLES:
            return False
        taken.add(name)
        return handle(packet)

    setattr(chan, _ENVIRONMENT_HANDLER, asked)
