"""A host that lets in whom its ``authorized_keys`` name or a certificate vouches for, and who calls it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.wire import PROTOCOL_VERSION, Hello, Welcome
from irosh.node.node import Node
from irosh.services.shell.messages import ShellRequest
from irosh.services.tunnel.messages import TunnelRequest
from irosh.transport.framing import read_frame, write_frame
from irosh.transport.interfaces import CarrierStream, Connection, StreamReset
from tests.support.admitted import ask
from tests.support.nodes import DEADLINE, bare_endpoint, running_node

SERVER = "tcp://127.0.0.1:9"
SHELL = ("shell", ShellRequest(key_auth=True))


@asynccontextmanager
async def host_with(tmp_path: Path, lines: str = "") -> AsyncIterator[tuple[Node, Path]]:
    """A host with an ``authorized_keys`` file, and the file."""
    keys = tmp_path / "keys"
    keys.write_text(lines)
    keys.chmod(0o600)
    async with running_node(tmp_path / "host", authorized_keys=keys) as node, asyncio.timeout(DEADLINE):
        yield node, keys


@dataclass
class Caller:
    """An admitted identity."""

    connection: Connection
    control: CarrierStream

    async def ask(self, service: str, request: msgspec.Struct) -> ErrorCode | None:
        """What the host answers to a stream."""
        _, error = await ask(self.connection, service, request)
        return None if error is None else error.code

    async def reaches(self, source: str) -> ErrorCode | None:
        """Whether a tunnel there would be allowed."""
        return await self.ask("tunnel", TunnelRequest(source, probe=True))


@asynccontextmanager
async def call(host: Node, identity: Identity, certificate: bytes = b"") -> AsyncIterator[Caller | ErrorCode]:
    """Connect and greet, from a loopback address of the engine's choice: the caller, or why it was turned away."""
    async with bare_endpoint(identity) as endpoint:
        connection = await endpoint.connect(host.modes.contact().route())
        control = await connection.open_stream()
        await write_frame(control, Hello(PROTOCOL_VERSION, certificate=certificate))
        try:
            await read_frame(control, Welcome, deadline=DEADLINE)
        except (StreamReset, IroshError):
            yield (await connection.wait_closed()).code
            return
        yield Caller(connection, control)


def key(identity: Identity) -> str:
    return identity.openssh_public_key("laptop of alice")


@asynccontextmanager
async def host_that_refuses(tmp_path: Path, revoked: bytes, lines: str = "") -> AsyncIterator[tuple[Node, Path]]:
    """A host, and the file of what it does not take any more."""
    file, state = tmp_path / "revoked", tmp_path / "host"
    file.write_bytes(revoked)
    file.chmod(0o600)
    state.mkdir(mode=0o700)
    (state / "config.toml").write_text(f'[host]\nrevoked_keys = "{file}"\n')
    async with host_with(tmp_path, lines) as (host, _):
        yield host, file
