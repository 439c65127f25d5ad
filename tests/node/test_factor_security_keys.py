"""A security key as second factor, at a real host."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from irosh.core.errors import ErrorCode
from irosh.core.security_key import sshsig_message
from irosh.node.peer_admin import PeerAdmin
from irosh.services.factor.messages import FactorAnswer, FactorStep
from irosh.transport.framing import write_frame
from tests.support.factor_peer import Peer, guarded
from tests.support.soft_key import SoftKey


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
