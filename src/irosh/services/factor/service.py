"""The host's side of second factors: challenges the peer, and has the node check its answers."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.factor_store import Enrolment
from irosh.core.second_factor import NONCE_SIZE, Factor, binding
from irosh.core.security_key import MAX_SIGNATURE, parse_key_blob, sshsig_message
from irosh.core.wire import answer_of
from irosh.node.actions import Action
from irosh.node.control import Operation
from irosh.node.node import Node
from irosh.node.services import IncomingStream
from irosh.node.verification import FactorGate
from irosh.services.factor.messages import FactorAnswer, FactorRequest, FactorStep
from irosh.services.factor.proving import proving_operations
from irosh.transport.framing import read_frame, write_frame

ANSWER_DEADLINE = 180.0  # seconds for a person to look for a telephone
MAX_WRONG = 3  # answers of one exchange, as ssh's NumberOfPasswordPrompts
LONGEST_WAIT = 30.0  # seconds that a person is kept waiting for the next attempt, rather than sent away


class FactorService:
    """Service ``factor``; see :class:`irosh.node.services.Service`."""

    name = "factor"
    request_type = FactorRequest

    def __init__(self, host_id: str) -> None:
        self._host_id = host_id

    def required(self, request: Any) -> Sequence[Action]:
        """Nothing: whoever was admitted may be asked."""
        return ()

    def operations(self, node: Node) -> dict[str, Operation]:
        return proving_operations(node)

    async def serve(self, incoming: IncomingStream) -> None:
        verification = incoming.connection.verification
        if verification.asking:
            await incoming.refuse(IroshError(ErrorCode.BUSY, "this session is being asked already"))
            return
        verification.asking = True
        try:
            await incoming.accept()
            await self._ask(incoming)
        finally:
            verification.asking = False

    async def _ask(self, incoming: IncomingStream) -> None:
        gate, peer_id = incoming.connection.authorizer.gate, incoming.connection.peer_id
        verification = incoming.connection.verification
        error: IroshError | None = None
        wrong = 0
        while missing := gate.missing(peer_id, verification):
            keys, wait, fatal = _state(gate, peer_id, missing[0])
            last = fatal is not None or wrong >= MAX_WRONG or wait > LONGEST_WAIT
            step = FactorStep(
                secrets.token_bytes(NONCE_SIZE),
                [str(factor) for factor in missing],
                [key.value for key in keys],
                answer_of(fatal or error or (_too_soon(wait) if last else None)).error,
                wait,
                last=last,
            )
            await write_frame(incoming.stream, step)
            if last:
                break
            error = await self._hear(incoming, step, missing[0])
            wrong += error is not None
        else:
            await write_frame(incoming.stream, FactorStep(b"", [], good_for=gate.lifetime))
        await incoming.stream.finish()

    async def _hear(self, incoming: IncomingStream, step: FactorStep, factor: Factor) -> IroshError | None:
        """What is wrong with the answer; None when it was right. Raises ``IroshError`` (protocol-error, timeout)."""
        gate, peer_id = incoming.connection.authorizer.gate, incoming.connection.peer_id
        verification = incoming.connection.verification
        answer = await read_frame(incoming.stream, FactorAnswer, deadline=ANSWER_DEADLINE)
        bound = binding(step.nonce, self._host_id, peer_id, factor)
        if answer.factor != factor or not hmac.compare_digest(answer.bound, bound):
            raise IroshError(ErrorCode.PROTOCOL, "an answer to another challenge")
        try:
            match factor:
                case Factor.PASSWORD:
                    await gate.give_password(peer_id, verification, answer.text)
                case Factor.TOTP:
                    await gate.give_totp(peer_id, verification, answer.text)
                case Factor.SECURITY_KEY:
                    if len(answer.signature) > MAX_SIGNATURE:
                        raise IroshError(ErrorCode.PROTOCOL, "a signature of impossible size")
                    try:
                        key = parse_key_blob(answer.key)
                    except ValueError:
                        raise IroshError(ErrorCode.PROTOCOL, "a malformed security key") from None
                    message = sshsig_message(bound)
                    await gate.give_signature(peer_id, verification, key, message, answer.signature)
        except IroshError as error:
            if error.code is ErrorCode.PROTOCOL:
                raise
            return error
        return None


def _state(gate: FactorGate, peer_id: str, factor: Factor) -> tuple[list[Enrolment], float, IroshError | None]:
    """Keys that may sign, seconds to wait, and why it is in vain."""
    try:
        gate.check_enrolled(peer_id, factor)
        wait = gate.check_locked(peer_id)
    except IroshError as error:
        return [], 0.0, error
    return gate.keys(peer_id) if factor is Factor.SECURITY_KEY else [], wait, None


def _too_soon(wait: float) -> IroshError:
    return IroshError(
        ErrorCode.FACTOR_FAILED, f"after failed attempts the next one is looked at in {round(wait)} s", "try again then"
    )
