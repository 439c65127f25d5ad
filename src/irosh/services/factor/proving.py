"""The peer's side of second factors: has the person at the command give what the host asks for."""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.second_factor import NONCE_SIZE, Factor, binding
from irosh.core.wire import StreamAnswer, WireError, error_in
from irosh.node.control import Channel, Operation, parsed_request
from irosh.node.exchange import ChannelExchange
from irosh.node.node import Node
from irosh.node.peer_connection import FactorRequired, PeerConnection
from irosh.node.target_request import TargetRequest
from irosh.services.factor.messages import FactorAnswer, FactorRequest, FactorStep
from irosh.transport.framing import read_frame, write_frame
from irosh.transport.interfaces import StreamReset

STEP_DEADLINE = 60.0
MAX_STEPS = 16
MAX_WAIT = 60.0  # seconds that a host may have the person wait
MAX_KEYS = 16


def proving_operations(node: Node) -> dict[str, Operation]:
    """``verify``: give a host its second factors before anything needs them."""

    async def verify(channel: Channel, request: dict[str, Any]) -> None:
        asked = parsed_request(request, TargetRequest)
        reached = await channel.while_connected(node.reach(asked, ChannelExchange(channel), proven=False))
        given = await prove(reached.connection, channel, node.identity.id)
        await channel.answer({"peer": reached.peer.petname, "id": reached.peer.id, "given": given})

    async def recover(channel: Channel, error: IroshError) -> bool:
        if not isinstance(error, FactorRequired):
            return False
        await prove(error.connection, channel, node.identity.id)
        return True

    node.control.recover = recover
    return {"verify": verify}


async def prove(connection: PeerConnection, channel: Channel, own_id: str) -> list[str]:
    """Give the host at the other end of ``connection`` what it asks for; returns what that was.

    ``IroshError``: factor-failed, factor-locked, what the host says; timeout.
    """
    opened = await connection.open("factor", FactorRequest())
    await opened.answer()
    given: list[str] = []
    try:
        for _ in range(MAX_STEPS):
            step = await read_frame(opened.stream, FactorStep, deadline=STEP_DEADLINE)
            error = _error(step.error)
            if error is not None and given:
                given.pop()
            if not step.needs:
                connection.proven(step.good_for)
                return given
            if step.last:
                raise error or IroshError(ErrorCode.FACTOR_FAILED, "the host takes no further answer")
            if error is not None:
                await channel.event("factor-refused", error=error.to_dict())
            await asyncio.sleep(min(MAX_WAIT, max(0.0, step.wait)))
            await write_frame(opened.stream, await _answer(connection, channel, own_id, step))
            given.append(step.needs[0])
        raise IroshError(ErrorCode.PROTOCOL, "the host asks again and again")
    except (StreamReset, EOFError):
        raise IroshError(ErrorCode.TIMEOUT, "the host does not wait for the second factor any more") from None
    finally:
        await opened.stream.abort()


def _error(said: WireError | None) -> IroshError | None:
    return error_in(StreamAnswer(said))


async def _answer(connection: PeerConnection, channel: Channel, own_id: str, step: FactorStep) -> FactorAnswer:
    try:
        factor = Factor(step.needs[0])
    except ValueError:
        raise IroshError(
            ErrorCode.PROTOCOL, "the host asks for a second factor that is not known here", "upgrade irosh"
        ) from None
    if len(step.nonce) != NONCE_SIZE:
        raise IroshError(ErrorCode.PROTOCOL, "a challenge of impossible size")
    bound = binding(step.nonce, connection.peer_id, own_id, factor)
    said = await channel.ask(
        "factor",
        factor=factor,
        host=connection.petname,
        keys=step.keys[:MAX_KEYS],
        message=base64.b64encode(bound).decode(),
    )
    try:
        return FactorAnswer(
            factor,
            bound,
            str(said.get("text", "")),
            base64.b64decode(str(said.get("key", "")), validate=True),
            base64.b64decode(str(said.get("signature", "")), validate=True),
        )
    except binascii.Error:
        raise IroshError(ErrorCode.PROTOCOL, "the command answered with what is not base64") from None
