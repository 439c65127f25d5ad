"""The first words on a connection: who dials says hello and is admitted, or turned away with the reason."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.paths import Paths
from irosh.core.session_settings import SessionSettings
from irosh.core.ssh_certificate import Certificate
from irosh.core.trust import TrustStore
from irosh.core.wire import PROTOCOL_VERSION, Hello, Resume, Welcome
from irosh.node.admission import admit
from irosh.node.audit import Auditor
from irosh.node.authorization import Authorizer
from irosh.node.presented import Presented
from irosh.node.services import Registry
from irosh.node.shown_machines import ShownMachines
from irosh.node.warrants import Warrants
from irosh.transport.framing import read_frame, write_frame
from irosh.transport.interfaces import CarrierStream, Connection, StreamReset
from irosh.transport.session.lifetime import Credentials

HELLO_DEADLINE = 10.0
MAX_TOLD_ADDRESSES = 16
# What a stranger may use before it is admitted.
STRANGER_STREAMS, STRANGER_WINDOW = 1, 64 * 1024


@dataclass(frozen=True)
class Doorway:
    """What every connection of a node needs to decide and to serve."""

    trust: TrustStore
    auditor: Auditor
    authorizer: Authorizer
    registry: Registry
    hostname: str
    user: str
    settings: SessionSettings
    instance: bytes
    warrants: Warrants
    presented: Presented
    machines: ShownMachines


@dataclass(frozen=True)
class Greeted:
    """An admitted peer's connection, its control stream, and what it said."""

    connection: Connection
    control: CarrierStream
    hello: Hello
    certificate: Certificate | None
    through: str | None
    """Who has brought it, if anybody."""


async def say_hello(
    doorway: Doorway,
    connection: Connection,
    invite: bytes | None,
    resume: Resume | None = None,
    *,
    uses: Paths = Paths.FASTEST,
) -> CarrierStream:
    """As the dialling side. The welcome arrives on the stream that is returned, which is then the control stream.

    ``IroshError``: the peer's reason, protocol-error, or timeout.
    """
    replay_buffer = doorway.settings.replay_buffer
    certificate = doorway.presented.for_host(connection.peer_id)
    hello = Hello(
        PROTOCOL_VERSION, invite, doorway.hostname, resume, doorway.instance, replay_buffer, uses, certificate
    )
    try:
        async with asyncio.timeout(HELLO_DEADLINE):
            control = await connection.open_stream()
            await write_frame(control, hello)
    except StreamReset as error:
        raise IroshError(ErrorCode.PROTOCOL, f"the peer wants no hello: {error}") from None
    except TimeoutError:
        raise IroshError(ErrorCode.TIMEOUT, "the peer takes no hello") from None
    return control


async def hear_welcome(connection: Connection, control: CarrierStream) -> Welcome:
    """The answer to a hello; closes the connection when none comes. ``IroshError``: the peer's reason."""
    try:
        return await read_frame(control, Welcome, deadline=HELLO_DEADLINE)
    except (StreamReset, IroshError) as error:
        if not connection.is_closed:
            connection.close(IroshError(ErrorCode.PROTOCOL, f"no welcome: {error}"))
        raise connection.close_reason() from None


async def hear_hello(doorway: Doorway, connection: Connection, through: str | None) -> Greeted:
    """As the accepting side: admit the peer, or close the connection with the reason and raise it.

    ``through``: who brings it, if anybody.
    """
    connection.allow_streams(STRANGER_STREAMS, window=STRANGER_WINDOW)
    try:
        async with asyncio.timeout(HELLO_DEADLINE):
            control = await connection.accept_stream()
        hello = await read_frame(control, Hello, deadline=HELLO_DEADLINE)
        admitted = admit(doorway.trust, doorway.auditor, doorway.warrants, connection.peer_id, hello, through)
    except (IroshError, StreamReset, TimeoutError) as failure:
        error = failure if isinstance(failure, IroshError) else IroshError(ErrorCode.PROTOCOL, "no hello came")
        connection.close(error)
        raise error from None
    return Greeted(connection, control, hello, admitted.certificate, through)


async def say_welcome(doorway: Doorway, greeted: Greeted, credentials: Credentials, addresses: Sequence[str]) -> None:
    """Answer the hello of an admitted peer. ``addresses``: where this node may be reached too.

    ``IroshError`` (timeout).
    """
    settings = doorway.settings
    welcome = Welcome(
        PROTOCOL_VERSION,
        doorway.hostname,
        doorway.user,
        credentials.session,
        credentials.token,
        settings.resume_for,
        settings.replay_buffer,
        list(addresses[:MAX_TOLD_ADDRESSES]),
        doorway.machines.to_peer(greeted.connection.peer_id).digest,
    )
    try:
        async with asyncio.timeout(HELLO_DEADLINE):
            await write_frame(greeted.control, welcome)
    except TimeoutError:
        raise IroshError(ErrorCode.TIMEOUT, "the peer does not take its welcome") from None
