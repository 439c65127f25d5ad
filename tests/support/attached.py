"""A command's end of the control socket of a real node, which has a link to a host in the test's own process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from irosh.node.control_client import ControlClient
from irosh.node.node import Node
from tests.support.nodes import linked_nodes


@asynccontextmanager
async def attached(directory: Path) -> AsyncIterator[tuple[Node, Node, ControlClient]]:
    """A host, a node with a link to it, and a command at that which has asked for nothing yet."""
    async with linked_nodes(directory, ["exec", "forward:tcp://127.0.0.1:*"]) as (host, node, destination):
        connection = await node.links.get(destination)
        await asyncio.shield(connection.welcome)
        with await asyncio.to_thread(ControlClient, node.state.control_socket_path) as command:
            yield host, node, command


async def stdio(command: ControlClient, host: Node, port: int) -> socket.socket:
    """Have ``command`` ask for a connection to ``port`` of ``host``, as ``irosh connect -W`` does."""
    request = {"target": host.identity.id, "source": f"tcp://127.0.0.1:{port}"}
    return await asyncio.to_thread(command.open_stream, "tunnel.stdio", request, lambda _: None, lambda: None)
