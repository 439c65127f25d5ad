"""How a host asks for passwords and codes, and what a hostile peer may try meanwhile."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from irosh.core import totp
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.second_factor import Factor
from irosh.node.peer_admin import PeerAdmin
from irosh.services.factor.messages import FactorAnswer, FactorRequest
from irosh.transport.framing import write_frame
from irosh.transport.interfaces import StreamReset
from tests.support.factor_peer import PASSWORD, Peer, connect, guarded
from tests.support.nodes import bare_endpoint, running_node


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
                answers = await (await peer.exchange()).guess()
                tried += len(answers) - 1
                error = answers[-1].error
                assert error is not None
                if error.code == ErrorCode.FACTOR_LOCKED:
                    break
                assert error.code == ErrorCode.FACTOR_FAILED
            assert tried == 10
            identity = peer.identity
        async with running_node(tmp_path / "host") as host, bare_endpoint(identity) as endpoint:
            peer = await connect(host, identity, endpoint)
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
                for answer in (await (await session.exchange()).guess())[1:]:
                    checked += answer.error is not None and answer.error.message == "wrong password"

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
            with pytest.raises((StreamReset, IroshError)):  # the host has ended it, too
                await first.step()
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
