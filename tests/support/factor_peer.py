"""A peer of a host that asks it for second factors, which it answers by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.password import hash_password
from irosh.core.second_factor import Factor, binding
from irosh.core.wire import Welcome
from irosh.node.node import Node
from irosh.services.factor.messages import FactorAnswer, FactorRequest, FactorStep
from irosh.services.shell.messages import ShellRequest
from irosh.services.tunnel.messages import TunnelRequest
from irosh.transport.framing import read_frame, write_frame
from irosh.transport.interfaces import CarrierStream, Connection
from irosh.transport.wheel import WheelEndpoint
from tests.support.admitted import ask, welcomed
from tests.support.nodes import DEADLINE, bare_endpoint, pin, running_node

PASSWORD = "correct horse battery"
PHC = hash_password(PASSWORD)
SERVICES = [("shell", ShellRequest(key_auth=True)), ("tunnel", TunnelRequest("tcp://127.0.0.1:9", probe=True))]


@dataclass
class Peer:
    """A peer that speaks the protocol by hand."""

    host: Node
    identity: Identity
    endpoint: WheelEndpoint
    connection: Connection
    welcome: Welcome

    async def again(self) -> Peer:
        """The same identity with a session of its own."""
        return await connect(self.host, self.identity, self.endpoint)

    async def ask(self, service: str, request: msgspec.Struct) -> tuple[CarrierStream, IroshError | None]:
        """Open a stream; the host's answer."""
        return await ask(self.connection, service, request)

    async def refusals(self) -> set[ErrorCode | None]:
        """What the services say, each of which the peer has the capabilities for."""
        answers = [await self.ask(service, request) for service, request in SERVICES]
        return {None if error is None else error.code for _, error in answers}

    async def exchange(self) -> Exchange:
        """Begin to be asked."""
        stream, error = await self.ask("factor", FactorRequest())
        assert error is None
        return Exchange(self, stream)


@dataclass
class Exchange:
    """The peer's side of one exchange."""

    peer: Peer
    stream: CarrierStream

    async def step(self) -> FactorStep:
        """What the host says next."""
        return await read_frame(self.stream, FactorStep, deadline=DEADLINE)

    def bound(self, step: FactorStep) -> bytes:
        """What an honest answer to ``step`` is bound to."""
        return binding(step.nonce, self.peer.host.identity.id, self.peer.identity.id, Factor(step.needs[0]))

    async def say(self, step: FactorStep, text: str) -> None:
        """Answer with a password or code."""
        await write_frame(self.stream, FactorAnswer(step.needs[0], self.bound(step), text))

    async def give(self, text: str) -> FactorStep:
        """Answer the next step, and hear the one after it."""
        await self.say(await self.step(), text)
        return await self.step()

    async def guess(self) -> list[FactorStep]:
        """Answer wrongly until the host has enough; all that it says."""
        steps = [await self.step()]
        while not steps[-1].last:
            await self.say(steps[-1], f"guess number {len(steps)}")
            steps.append(await self.step())
        return steps


async def connect(host: Node, identity: Identity, endpoint: WheelEndpoint) -> Peer:
    return Peer(host, identity, endpoint, *await welcomed(endpoint, host))


@asynccontextmanager
async def guarded(tmp_path: Path, *factors: Factor, capabilities: Sequence[str] = ("all",)) -> AsyncIterator[Peer]:
    """A host that requires ``factors`` of a peer; its password is set."""
    identity = Identity.generate()
    async with running_node(tmp_path / "host") as host, bare_endpoint(identity) as endpoint, asyncio.timeout(DEADLINE):
        pin(host, identity, "laptop", capabilities)
        host.trust.factors.require(identity.id, factors)
        if Factor.PASSWORD in factors:
            host.trust.factors.enrol(identity.id, Factor.PASSWORD, PHC)
        yield await connect(host, identity, endpoint)
