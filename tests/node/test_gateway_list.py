"""What a node learns of its gateways by talking with them: real nodes on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from irosh.core.capability import parse_capabilities
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.machine_store import MAX_KEPT
from irosh.core.trust import TrustStore
from irosh.node.machine_names import with_gateways
from irosh.node.node import Node
from irosh.node.services import IncomingStream
from irosh.node.target_request import TargetRequest
from irosh.services.shell.gateway_service import GatewayService, NamesBatch, served_names
from irosh.services.shell.messages import ConnectRequest
from irosh.transport.framing import write_frame
from tests.support.nodes import DEADLINE, pin, running_node

MACHINES = {"printer": "ssh://root@10.0.0.5", "vault": "ssh://192.0.2.7:22"}


@asynccontextmanager
async def gateway_and_client(tmp_path: Path) -> AsyncIterator[tuple[Node, Node]]:
    """A gateway to one of MACHINES, and a client that knows where it is."""
    async with (
        running_node(tmp_path / "gateway") as gateway,
        running_node(tmp_path / "client", hosting=False) as client,
        asyncio.timeout(DEADLINE),
    ):
        pin(gateway, client.identity, "client", ["gateway:ssh://10.0.0.0/8:22"])
        yield gateway, client


async def meet(gateway: Node, client: Node) -> None:
    """Connect, when they are not connected."""
    await client.reach(TargetRequest(target=gateway.ticket(None).encode(), name="gw"))


async def part(gateway: Node, client: Node) -> None:
    """End their connection."""
    client.close_peer(gateway.identity.id, IroshError(ErrorCode.CLOSED, "enough"))
    await until(lambda: not gateway.links.connections())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def names(client: Node) -> list[str]:
    return [machine.full_name for machine in client.trust.machines.all()]


def test_a_connection_tells_what_is_shown_and_what_is_not_any_more(tmp_path: Path) -> None:
    async def test() -> None:
        async with gateway_and_client(tmp_path) as (gateway, client):
            with gateway.machines.showing(MACHINES):
                await meet(gateway, client)
                await until(lambda: names(client) == ["gw/printer"])  # the other may not be gone on to
                await part(gateway, client)
                (before,) = client.trust.machines.all()
                await meet(gateway, client)
                await until(lambda: client.trust.machines.all()[0].shown_at > before.shown_at)
                await part(gateway, client)
                asked = [entry for entry in gateway.trust.audit_log() if entry.event == "use"]
                assert len(asked) == 1, "what is known is not asked for again"
            await meet(gateway, client)
            await until(lambda: not names(client))

    asyncio.run(test())


def test_what_is_not_permitted_any_more_is_forgotten(tmp_path: Path) -> None:
    async def test() -> None:
        async with gateway_and_client(tmp_path) as (gateway, client):
            with gateway.machines.showing(MACHINES):
                await meet(gateway, client)
                await until(lambda: bool(names(client)))
                gateway.trust.set_capabilities(client.identity.id, parse_capabilities(["exec"]))
                (connection,) = client.links.connections()
                with pytest.raises(IroshError) as caught:
                    await served_names(client.trust, connection)
                assert (caught.value.code, names(client)) == (ErrorCode.DENIED, [])

    asyncio.run(test())


@pytest.mark.parametrize("name", ["same", "m{}"])
def test_a_list_without_end_ends(tmp_path: Path, name: str) -> None:
    sent = 0

    class Endless(GatewayService):
        async def serve(self, incoming: IncomingStream) -> None:
            nonlocal sent
            await incoming.accept()
            while True:
                sent += 50
                entries = {name.format(number): MACHINES["printer"] for number in range(sent, sent + 50)}
                await write_frame(incoming.stream, NamesBatch(entries, more=True))

    async def test() -> None:
        async with gateway_and_client(tmp_path) as (gateway, client):
            gateway.registry._services["gateway"] = Endless()  # a host may run anything
            await meet(gateway, client)
            (connection,) = client.links.connections()
            await served_names(client.trust, connection)
            assert 0 < len(names(client)) <= MAX_KEPT

    asyncio.run(test())


def test_names_mean_machines_only_where_no_peer_has_them(tmp_path: Path) -> None:
    with TrustStore(tmp_path / "irosh.db") as trust:
        trust.pin(gateway := Identity.generate().id, petname="gw", origin="manual")
        trust.pin(Identity.generate().id, petname="laptop", origin="manual")
        hostile = ("laptop", "printer", "npub1abc", "github.com", "gw")
        trust.machines.remember(gateway, dict.fromkeys(hostile, "ssh://10.0.0.5"))

        def meant(target: str, *hops: str) -> tuple[str, ...]:
            request = with_gateways(trust, ConnectRequest(target=target, jump=hops))
            return (*request.jump, request.target)

        assert meant("printer") == ("gw/printer",)
        assert meant("laptop", "root@PRINTER,gw", "nobody") == ("root@gw/printer", "gw", "nobody", "laptop")
        # whatever a gateway shows, these are what they were
        for target in ("gw", "ssh://printer", "ssh://github.com", "npub1abc", "-", "gw/laptop", gateway, gateway[:10]):
            assert meant(target) == (target,)
