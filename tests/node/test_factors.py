"""Second factors at a real host: nothing is served before they are given, nor after they are worth no more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.password import hash_password
from irosh.core.second_factor import Factor
from irosh.core.wire import PROTOCOL_VERSION, Hello, Resume, Welcome
from irosh.node.actions import Use
from irosh.node.peer_admin import PeerAdmin
from irosh.node.target_request import TargetRequest
from irosh.node.verification import Verification
from irosh.services.files.transfer.messages import FilesRequest
from irosh.services.shell.messages import JumpRequest, ShellRequest
from irosh.services.shell.persistent.messages import SessionRequest
from irosh.services.telemetry.messages import TelemetryRequest
from irosh.services.tunnel.messages import ListenRequest
from irosh.services.vpn.messages import VpnRequest
from irosh.transport.framing import read_frame, write_frame
from irosh.transport.interfaces import StreamReset
from tests.support.factor_peer import PASSWORD, PHC, SERVICES, Peer, guarded
from tests.support.nodes import DEADLINE, bare_endpoint, pin, running_node

EVERY_SERVICE = [
    *SERVICES,
    ("session", SessionRequest("attach", create=True)),
    ("session", SessionRequest("manage")),
    ("listen", ListenRequest(["tcp://127.0.0.1:0"], b"token")),
    ("files", FilesRequest()),
    ("telemetry", TelemetryRequest()),
    ("jump", JumpRequest(peer="ab" * 32)),
    ("jump", JumpRequest(server="tcp://127.0.0.1:22")),
    ("vpn", VpnRequest(flow=1)),
]
# These ask for factors themselves, or for a token that this host gave to the peer.
ASK_THEMSELVES = {"factor", "forwarded"}


def test_no_service_is_reached_before_the_password_and_each_is_after_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with guarded(tmp_path, Factor.PASSWORD) as peer:
            assert await peer.refusals() == {ErrorCode.FACTOR_REQUIRED}
            done = await (await peer.exchange()).give(PASSWORD)
            assert (done.needs, done.error) == ([], None)
            assert await peer.refusals() == {None}
            # Another session of the same peer has given nothing.
            assert await (await peer.again()).refusals() == {ErrorCode.FACTOR_REQUIRED}
            events = [(entry.event, entry.outcome) for entry in peer.host.trust.audit_log(limit=200)]
            assert ("factor", "accepted") in events
            assert ("use", "refused") in events

    asyncio.run(test())


def test_every_service_of_the_host_is_behind_the_gate(tmp_path: Path) -> None:
    async def test() -> None:
        async with guarded(tmp_path, Factor.PASSWORD) as peer:
            named = {name for name, _ in EVERY_SERVICE} | ASK_THEMSELVES
            assert named <= peer.host.registry.names
            for name, request in EVERY_SERVICE:
                _, error = await peer.ask(name, request)
                assert error is not None, name
                assert error.code is ErrorCode.FACTOR_REQUIRED, name

    asyncio.run(test())


def test_whoever_comes_through_another_machine_is_behind_the_gate(tmp_path: Path) -> None:
    async def test() -> None:
        async with guarded(tmp_path, Factor.PASSWORD) as peer:
            await (await peer.exchange()).give(PASSWORD)
            authorizer, peer_id = peer.host.authorizer, peer.identity.id
            # What one session has given is of no use to whoever brings the same key by another way.
            for verification in (None, Verification()):
                with pytest.raises(IroshError) as caught:
                    authorizer.authorize_now(peer_id, Use(("exec",)), verification)
                assert caught.value.code is ErrorCode.FACTOR_REQUIRED
            assert not authorizer.would_grant(peer_id, Use(("exec",)))

    asyncio.run(test())


def test_without_a_capability_the_factor_gives_none(tmp_path: Path) -> None:
    async def test() -> None:
        async with guarded(tmp_path, Factor.PASSWORD, capabilities=()) as peer:
            await (await peer.exchange()).give(PASSWORD)
            assert await peer.refusals() == {ErrorCode.DENIED}

    asyncio.run(test())


@pytest.mark.parametrize("keys", ["identity", "none", "a security key"])
def test_a_stock_ssh_stream_lets_nobody_in_without_the_factor(tmp_path: Path, keys: str) -> None:
    """SSH itself asks on such a stream. The identity's key, which QUIC has proven already, is not enough."""

    async def test() -> None:
        import asyncssh

        from irosh.transport.asyncio_transport import StreamTunnel

        async with (
            running_node(tmp_path / "host") as host,
            running_node(tmp_path / "client", hosting=False) as client,
            asyncio.timeout(DEADLINE),
        ):
            pin(host, client.identity, "laptop", ["all"])
            host.trust.factors.require(client.identity.id, [Factor.PASSWORD, Factor.SECURITY_KEY])
            host.trust.factors.enrol(client.identity.id, Factor.PASSWORD, PHC)
            own = asyncssh.import_private_key(client.identity.openssh_private_key())
            offered = {"identity": [own], "none": [], "a security key": [asyncssh.generate_private_key("ssh-ed25519")]}
            reached = await client.reach(TargetRequest(target=host.ticket(None).encode()))
            opened = await reached.connection.open("shell", ShellRequest())
            await opened.answer()
            tunnel = StreamTunnel(opened.stream)
            try:
                with pytest.raises(asyncssh.PermissionDenied):
                    await asyncssh.connect(
                        "peer",
                        tunnel=tunnel,
                        config=None,
                        username="-",
                        known_hosts=None,
                        agent_path=None,
                        client_keys=offered[keys],
                    )
            finally:
                await tunnel.aclose()
            assert host.trust.factors.failures(client.identity.id).count == 0

    asyncio.run(test())


async def _resumed(peer: Peer, identity: Identity) -> ErrorCode | None:
    """What a host says to ``identity`` that wants to go on with the session of ``peer``."""
    async with bare_endpoint(identity) as endpoint:
        connection = await endpoint.connect(peer.host.modes.contact().route())
        control = await connection.open_stream()
        resume = Resume(peer.welcome.session, peer.welcome.token)
        await write_frame(control, Hello(PROTOCOL_VERSION, None, resume=resume))
        try:
            await read_frame(control, Welcome, deadline=DEADLINE)
        except (StreamReset, IroshError):
            return (await connection.wait_closed()).code
        return None


def test_a_verified_session_is_taken_up_by_nobody_else(tmp_path: Path) -> None:
    async def test() -> None:
        async with guarded(tmp_path, Factor.PASSWORD) as peer:
            await (await peer.exchange()).give(PASSWORD)
            thief = Identity.generate()
            pin(peer.host, thief, "thief", ["all"])
            assert await _resumed(peer, thief) is ErrorCode.SESSION_UNKNOWN
            assert await _resumed(peer, Identity.generate()) is ErrorCode.UNKNOWN_PEER
            assert await peer.refusals() == {None}

    asyncio.run(test())


def test_a_password_set_anew_has_to_be_given_anew(tmp_path: Path) -> None:
    async def test() -> None:
        async with guarded(tmp_path, Factor.PASSWORD) as peer:
            await (await peer.exchange()).give(PASSWORD)
            assert await peer.refusals() == {None}
            enrol = [{"factor": "password", "value": hash_password("another password")}]
            admin = PeerAdmin(peer.host.trust, lambda _peer, _reason: 0)
            admin.require("laptop", ["password"], enrol, False)
            assert await peer.refusals() == {ErrorCode.FACTOR_REQUIRED}
            admin.require("laptop", [], [], False)
            assert await peer.refusals() == {None}

    asyncio.run(test())


def test_what_was_given_counts_for_a_while(tmp_path: Path) -> None:
    state = tmp_path / "host"
    state.mkdir(mode=0o700)
    (state / "config.toml").write_text('[host]\nfactor_lifetime = "1s"\n')

    async def test() -> None:
        async with guarded(tmp_path, Factor.PASSWORD) as peer:
            await (await peer.exchange()).give(PASSWORD)
            assert await peer.refusals() == {None}
            await asyncio.sleep(1.1)
            assert await peer.refusals() == {ErrorCode.FACTOR_REQUIRED}

    asyncio.run(test())
