"""The relay handshake: who is believed to hold the key of an endpoint id."""

from __future__ import annotations

from dataclasses import replace

import pytest

from irosh.core.identity import Identity
from irosh.transport.relay import handshake
from irosh.transport.relay.frames import ClientAuth

SECRET = bytes(range(32))
CHALLENGE = bytes(range(16))


def test_the_holder_of_the_key_is_believed() -> None:
    auth = handshake.answer(SECRET, CHALLENGE)
    assert auth.public_key == Identity.from_secret(SECRET).public
    assert handshake.is_authentic(auth, CHALLENGE)


def test_an_answer_to_another_challenge_is_not_believed() -> None:
    assert not handshake.is_authentic(handshake.answer(SECRET, CHALLENGE), handshake.new_challenge())


def test_an_answer_by_another_key_is_not_believed() -> None:
    auth = handshake.answer(SECRET, CHALLENGE)
    assert not handshake.is_authentic(replace(auth, public_key=Identity.generate().public), CHALLENGE)


def test_a_signature_of_the_bare_challenge_is_not_believed() -> None:
    identity = Identity.from_secret(SECRET)
    assert not handshake.is_authentic(ClientAuth(identity.public, identity.sign(CHALLENGE)), CHALLENGE)


@pytest.mark.parametrize("public_key", [bytes(32), b"\xff" * 32, b"\x01" + bytes(31)])
def test_keys_that_name_nobody_are_not_believed(public_key: bytes) -> None:
    # With a public key of small order, this is a valid signature over any message.
    trivial = ClientAuth(public_key, b"\x01" + bytes(63))
    assert not handshake.is_authentic(trivial, CHALLENGE)


def test_challenges_do_not_repeat() -> None:
    assert len({handshake.new_challenge() for _ in range(100)}) == 100
