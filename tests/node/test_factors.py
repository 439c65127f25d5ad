"""Second factors at a real host: nothing is served before they are given, and what a hostile peer may try."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from irosh.core import totp
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.password import hash_password
from irosh.core.second_factor import Factor, binding
from irosh.core.security_key import sshsig_message
from irosh.core.wire import (
    PROTOCOL_VERSION,
    Hello,
    Resume,
    StreamAnswer,
    StreamHeader,
    Welcome,
    encode_request,
    error_in,
)
from irosh.node.actions import Use
from irosh.node.node import Node
from irosh.node.peer_admin import PeerAdmin
from irosh.node.target_request import TargetRequest
from irosh.node.verification import Verification
from irosh.services.factor.messages import FactorAnswer, FactorRequest, FactorStep
from irosh.services.files.transfer.messages import FilesRequest
from irosh.services.shell.messages import JumpRequest, ShellRequest
from irosh.services.shell.persistent.messages import SessionRequest
from irosh.services.telemetry.messages import TelemetryRequest
from irosh.services.tunnel.messages import ListenRequest, TunnelRequest
from irosh.services.vpn.messages import VpnRequest
from irosh.transport.framing import read_frame, write_frame
from irosh.transport.interfaces import CarrierStream, Connection, StreamReset
from irosh.transport.wheel import WheelEndpoint
from tests.support.nodes import DEADLINE, bare_endpoint, open_foreign_stream, pin, running_node, say_hello
from tests.support.soft_key import SoftKey

PASSWORD = "correct horse battery"
PHC = hash_password(PASSWORD)
SERVICES = [("shell", ShellRequest(key_auth=True)), ("tunnel", TunnelRequest("tcp://127.0.0.1:9", probe=True))]
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
        return await _connect(self.host, self.identity, self.endpoint)

    async def ask(self, service: str, request: msgspec.Struct) -> tuple[CarrierStream, IroshError | None]:
        """Open a stream; the host's answer."""
        stream = await open_foreign_stream(self.connection)
        await write_frame(stream, StreamHeader(service, encode_request(request)))
        return stream, error_in(await read_frame(stream, StreamAnswer, deadline=DEADLINE))

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


async def _connect(host: Node, identity: Identity, endpoint: WheelEndpoint) -> Peer:
    connection = await endpoint.connect(host.modes.contact().route())
    hello = await say_hello(connection)
    welcome = await read_frame(hello, Welcome, deadline=DEADLINE)
    return Peer(host, identity, endpoint, connection, welcome)


@asynccontextmanager
async def guarded(tmp_path: Path, *factors: Factor, capabilities: Sequence[str] = ("all",)) -> AsyncIterator[Peer]:
    """A host that requires ``factors`` of a peer; its password is set."""
    identity = Identity.generate()
    async with running_node(tmp_path / "host") as host, bare_endpoint(identity) as endpoint, asyncio.timeout(DEADLINE):
        pin(host, identity, "laptop", capabilities)
        host.trust.factors.require(identity.id, factors)
        if Factor.PASSWORD in factors:
            host.trust.factors.enrol(identity.id, Factor.PASSWORD, PHC)
        yield await _connect(host, identity, endpoint)


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


def test_what_is_required_by_mistake_can_not_be_given(tmp_path: Path) -> None:
    async def test() -> None:
        async with guarded(tmp_path, Factor.TOTP) as peer:
            step = await (await peer.exchange()).step()
            assert step.last
            assert step.error is not None
            assert step.error.code == ErrorCode.FACTOR_FAILED
            assert await peer.refusals() == {ErrorCode.FACTOR_REQUIRED}

    asyncio.run(test())


def test_guessing_ends_in_a_lockout_that_a_restart_does_not_lift(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("irosh.core.factor_store.FIRST_WAIT", 0.0)

    async def test() -> None:
        async with guarded(tmp_path, Factor.PASSWORD) as peer:
            tried = 0
            while True:
                exchange = await peer.exchange()
                step = await exchange.step()
                while not step.last:
                    await exchange.say(step, f"guess number {tried}")
                    tried += 1
                    step = await exchange.step()
                assert step.error is not None
                if step.error.code == ErrorCode.FACTOR_LOCKED:
                    break
                assert step.error.code == ErrorCode.FACTOR_FAILED
            assert tried == 10
            identity = peer.identity
        async with running_node(tmp_path / "host") as host, bare_endpoint(identity) as endpoint:
            peer = await _connect(host, identity, endpoint)
            locked = await (await peer.exchange()).step()
            assert locked.error is not None
            assert locked.error.code == ErrorCode.FACTOR_LOCKED
            # The right answer, said without being asked for, is not looked at either.
            assert await peer.refusals() == {ErrorCode.FACTOR_REQUIRED}
            PeerAdmin(host.trust, lambda _peer, _reason: 0).unlock("laptop")
            assert (await (await peer.exchange()).give(PASSWORD)).needs == []
            assert host.trust.factors.failures(identity.id).count == 0
            assert await peer.refusals() == {None}
            unlocked = [entry for entry in host.trust.audit_log(limit=200) if entry.event == "peer-unlock"]
            assert [entry.detail for entry in unlocked] == ["laptop: 10 failures forgotten"]

    asyncio.run(test())


def test_guesses_on_many_sessions_at_once_are_counted_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("irosh.core.factor_store.FIRST_WAIT", 0.0)

    async def test() -> None:
        async with guarded(tmp_path, Factor.PASSWORD) as peer:
            sessions = [peer, *[await peer.again() for _ in range(15)]]
            checked = 0

            async def guess(session: Peer) -> None:
                nonlocal checked
                exchange = await session.exchange()
                step = await exchange.step()
                while not step.last:
                    await exchange.say(step, "a wild guess")
                    step = await exchange.step()
                    checked += step.error is not None and step.error.message == "wrong password"

            async with asyncio.TaskGroup() as group:
                for session in sessions:
                    group.create_task(guess(session))
            assert checked <= 10
            assert peer.host.trust.factors.failures(peer.identity.id).count <= 10

    asyncio.run(test())


def test_a_session_has_one_exchange_at_a_time(tmp_path: Path) -> None:
    async def test() -> None:
        async with guarded(tmp_path, Factor.PASSWORD) as peer:
            exchange = await peer.exchange()
            _, error = await peer.ask("factor", FactorRequest())
            assert error is not None
            assert error.code is ErrorCode.BUSY
            assert (await exchange.give(PASSWORD)).needs == []

    asyncio.run(test())


def test_an_answer_to_another_challenge_is_worth_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with guarded(tmp_path, Factor.PASSWORD) as peer:
            first = await peer.exchange()
            recorded = FactorAnswer("password", first.bound(await first.step()), PASSWORD)
            await first.stream.finish()
            await asyncio.sleep(0.1)
            for session in (peer, await peer.again()):
                exchange = await session.exchange()
                await exchange.step()
                await write_frame(exchange.stream, recorded)
                with pytest.raises(StreamReset):
                    await exchange.step()
                assert await session.refusals() == {ErrorCode.FACTOR_REQUIRED}

    asyncio.run(test())


@pytest.mark.parametrize("garbage", [b"\xff\xff" + b"x" * 100, b"\x00\x03abc", b"\x00\x00", b"\x00"])
def test_garbage_for_an_answer_ends_the_exchange_only(tmp_path: Path, garbage: bytes) -> None:
    async def test() -> None:
        async with guarded(tmp_path, Factor.PASSWORD) as peer:
            exchange = await peer.exchange()
            await exchange.step()
            await exchange.stream.write(garbage)
            await exchange.stream.finish()
            with pytest.raises((StreamReset, IroshError)):
                await exchange.step()
            assert (await (await peer.exchange()).give(PASSWORD)).needs == []

    asyncio.run(test())


def test_who_says_nothing_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("irosh.services.factor.service.ANSWER_DEADLINE", 0.5)

    async def test() -> None:
        async with guarded(tmp_path, Factor.PASSWORD) as peer:
            exchange = await peer.exchange()
            await exchange.step()
            with pytest.raises(StreamReset):
                await exchange.step()

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


def test_a_code_is_taken_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with guarded(tmp_path, Factor.TOTP) as peer:
            secret = totp.new_secret()
            peer.host.trust.factors.enrol(peer.identity.id, Factor.TOTP, secret)
            step = totp.step_at(time.time())
            code = totp.code_for(totp.decode_secret(secret), step)
            assert (await (await peer.exchange()).give(code)).needs == []
            assert await peer.refusals() == {None}
            again = await (await peer.again()).exchange()
            replayed = await again.give(code)
            assert replayed.error is not None
            assert replayed.error.code == ErrorCode.FACTOR_FAILED
            await again.say(replayed, totp.code_for(totp.decode_secret(secret), step + 1))
            assert (await again.step()).needs == []

    asyncio.run(test())


def test_of_two_factors_each_is_needed_and_failures_are_kept_until_both_are_given(tmp_path: Path) -> None:
    async def test() -> None:
        async with guarded(tmp_path, Factor.PASSWORD, Factor.TOTP) as peer:
            secret = totp.new_secret()
            factors = peer.host.trust.factors
            factors.enrol(peer.identity.id, Factor.TOTP, secret)
            exchange = await peer.exchange()
            step = await exchange.give("wrong password")
            assert step.needs == ["password", "totp"]
            await exchange.say(step, PASSWORD)
            step = await exchange.step()
            assert step.needs == ["totp"]
            assert factors.failures(peer.identity.id).count == 1
            assert await peer.refusals() == {ErrorCode.FACTOR_REQUIRED}
            await exchange.say(step, totp.code_for(totp.decode_secret(secret), totp.step_at(time.time())))
            assert (await exchange.step()).needs == []
            assert factors.failures(peer.identity.id).count == 0
            assert await peer.refusals() == {None}

    asyncio.run(test())


@pytest.fixture(params=["ed25519", "ecdsa"])
def key(request: pytest.FixtureRequest) -> SoftKey:
    return SoftKey(request.param)


def _enrol(peer: Peer, key: SoftKey, *conditions: str) -> None:
    admin = PeerAdmin(peer.host.trust, lambda _peer, _reason: 0)
    enrol = [{"factor": "security-key", "value": key.public.line, "conditions": list(conditions)}]
    admin.require("laptop", ["security-key"], enrol, True)


async def _sign(peer: Peer, key: SoftKey, *, flags: int = 1, counter: int = 1) -> FactorStep:
    """What the host says to an answer that ``key`` signed."""
    exchange = await peer.exchange()
    step = await exchange.step()
    assert step.keys == [key.public.line]
    bound = exchange.bound(step)
    signature = key.sign(sshsig_message(bound), flags=flags, counter=counter)
    await write_frame(exchange.stream, FactorAnswer("security-key", bound, "", key.public.blob, signature))
    return await exchange.step()


def test_a_security_key_signs_the_challenge(tmp_path: Path, key: SoftKey) -> None:
    async def test() -> None:
        async with guarded(tmp_path) as peer:
            _enrol(peer, key)
            assert (await _sign(peer, key, counter=9)).needs == []
            assert await peer.refusals() == {None}

    asyncio.run(test())


def test_a_security_key_that_was_revoked_counts_no_more(tmp_path: Path, key: SoftKey) -> None:
    revoked, state = tmp_path / "revoked", tmp_path / "host"
    revoked.touch(mode=0o600)
    state.mkdir(mode=0o700)
    (state / "config.toml").write_text(f'[host]\nrevoked_keys = "{revoked}"\n')

    async def test() -> None:
        async with guarded(tmp_path) as peer:
            _enrol(peer, key)
            assert (await _sign(peer, key)).needs == []
            assert await peer.refusals() == {None}
            revoked.write_text(f"{key.public.line}\n")
            assert await peer.refusals() == {ErrorCode.FACTOR_REQUIRED}, "also what it gave before"
            error = (await (await peer.exchange()).step()).error
            assert error is not None
            assert error.code == ErrorCode.FACTOR_FAILED

    asyncio.run(test())


def test_a_counter_that_goes_back_is_a_copied_key(tmp_path: Path, key: SoftKey) -> None:
    async def test() -> None:
        async with guarded(tmp_path) as peer:
            _enrol(peer, key)
            assert (await _sign(peer, key, counter=9)).needs == []
            for counter in (9, 8, 0):
                assert (await _sign(await peer.again(), key, counter=counter)).error is not None
                peer.host.trust.factors.unlock(peer.identity.id)
            assert (await _sign(await peer.again(), key, counter=10)).needs == []

    asyncio.run(test())


@pytest.mark.parametrize(
    ("conditions", "flags", "accepted"),
    [
        ((), 0, False),
        ((), 1, True),
        ((), 4, False),
        (("no-touch",), 0, True),
        (("verify",), 1, False),
        (("verify",), 5, True),
        (("verify", "no-touch"), 4, True),
    ],
)
def test_a_person_must_touch_it_and_be_verified_as_required(
    tmp_path: Path, conditions: tuple[str, ...], flags: int, accepted: bool
) -> None:
    async def test() -> None:
        async with guarded(tmp_path) as peer:
            key = SoftKey("ed25519")
            _enrol(peer, key, *conditions)
            assert ((await _sign(peer, key, flags=flags)).error is None) == accepted

    asyncio.run(test())


def test_another_key_or_another_message_is_refused(tmp_path: Path, key: SoftKey) -> None:
    async def test() -> None:
        async with guarded(tmp_path) as peer:
            _enrol(peer, key)
            exchange = await peer.exchange()
            step = await exchange.step()
            other = SoftKey("ed25519")
            bound = exchange.bound(step)
            answers = [
                (other.public.blob, other.sign(sshsig_message(bound))),
                (key.public.blob, other.sign(sshsig_message(bound))),
                (key.public.blob, key.sign(bound)),  # not in the namespace
            ]
            for blob, signature in answers:
                await write_frame(
                    exchange.stream, FactorAnswer("security-key", exchange.bound(step), "", blob, signature)
                )
                step = await exchange.step()
                assert step.error is not None
            assert await peer.refusals() == {ErrorCode.FACTOR_REQUIRED}

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
