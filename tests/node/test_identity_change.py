"""A host whose identity changed: pinned peers notice, loudly and at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from irosh.core.capability import parse_capabilities
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import rotate_identity
from irosh.node.node import Node
from irosh.node.target_request import TargetRequest
from tests.support.nodes import DEADLINE, running_node


def _ticket(host: Node) -> str:
    return host.ticket(host.trust.create_invite(parse_capabilities(["all"]))).encode()


def test_a_host_with_a_new_key_at_the_old_address_is_refused(tmp_path: Path) -> None:
    async def body() -> None:
        async with running_node(tmp_path / "client", hosting=False) as client, asyncio.timeout(DEADLINE):
            async with running_node(tmp_path / "host") as host:
                reached = await client.reach(TargetRequest(target=_ticket(host), name="server"))
                assert reached.newly_pinned
            await reached.connection.session.wait_closed()

            rotate_identity(tmp_path / "host" / "identity.key")
            async with running_node(tmp_path / "host") as host:
                # What a fixed --bind does: the new key answers where the old one did.
                client.trust.remember_route(reached.peer.id, host.modes.contact().route().addresses, (), None)
                with pytest.raises(IroshError) as error:
                    await client.reach(TargetRequest(target="server"))
                assert error.value.code is ErrorCode.IDENTITY_MISMATCH
                # A new ticket is no way round: the name belongs to the old identity until its owner says otherwise.
                with pytest.raises(IroshError) as error:
                    await client.reach(TargetRequest(target=_ticket(host), name="server"))
                assert error.value.code is ErrorCode.IDENTITY_MISMATCH
                assert "peer remove server" in error.value.hint
                client.trust.remove(reached.peer.id)
                again = await client.reach(TargetRequest(target=_ticket(host), name="server"))
                assert again.peer.id == host.identity.id != reached.peer.id

    asyncio.run(body())


def test_two_machines_of_one_name_are_told_apart(tmp_path: Path) -> None:
    async def body() -> None:
        async with (
            running_node(tmp_path / "one") as one,
            running_node(tmp_path / "two") as two,
            running_node(tmp_path / "client", hosting=False) as client,
            asyncio.timeout(DEADLINE),
        ):
            first = await client.reach(TargetRequest(target=_ticket(one)))
            second = await client.reach(TargetRequest(target=_ticket(two)))
            assert second.peer.petname == f"{first.peer.petname}-2"
            assert (await client.reach(TargetRequest(target=first.peer.petname))).peer.id == one.identity.id
            assert (await client.reach(TargetRequest(target=second.peer.petname))).peer.id == two.identity.id

    asyncio.run(body())


def test_a_node_does_not_dial_itself(tmp_path: Path) -> None:
    async def body() -> None:
        async with running_node(tmp_path / "host") as host:
            with pytest.raises(IroshError) as error:
                await host.reach(TargetRequest(target=_ticket(host)))
            assert error.value.code is ErrorCode.UNKNOWN_TARGET

    asyncio.run(body())


def test_unknown_names_get_a_suggestion(tmp_path: Path) -> None:
    async def body() -> None:
        async with running_node(tmp_path / "host") as host, running_node(tmp_path / "client", hosting=False) as client:
            await client.reach(TargetRequest(target=_ticket(host), name="buildbox"))
            with pytest.raises(IroshError) as error:
                await client.reach(TargetRequest(target="buildbx"))
            assert error.value.code is ErrorCode.UNKNOWN_TARGET
            assert "buildbox" in error.value.hint

    asyncio.run(body())
