"""Signalling messages: only what its sender signed, for us, for this session, once, and not for long."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.nostr_signal import (
    CLOCK_TOLERANCE,
    LIFETIME,
    MAX_SIZE,
    SESSION_SIZE,
    Answer,
    Bye,
    Content,
    Parties,
    Refusal,
    Request,
    SeenNonces,
    Signal,
    check_time,
    open_signal,
    seal,
)

ALICE, BOB = (Identity.from_secret(bytes((number,)) * 32) for number in (1, 2))
TO_BOB = Parties(b"a" * 32, b"b" * 32)
SESSION = b"s" * SESSION_SIZE
NOW = 1_800_000_000.0

texts = st.text(st.characters(codec="utf-8"), max_size=200)
contents = st.one_of(
    st.builds(Request, st.binary(max_size=1000), st.none() | st.binary(max_size=64)),
    st.builds(Answer, st.binary(max_size=1000)),
    st.builds(Refusal, texts, texts, texts),
    st.just(Bye()),
)


def _sealed(content: Content, *, now: float = NOW) -> bytes:
    return seal(ALICE, TO_BOB, SESSION, content, now=now, recipient=BOB.public)


def _refusal(payload: bytes, parties: Parties = TO_BOB) -> IroshError:
    with pytest.raises(IroshError) as error:
        open_signal(payload, parties)
    assert error.value.code is ErrorCode.PROTOCOL
    return error.value


def _resigned(**changes: object) -> bytes:
    """A message that Alice signed, but that :func:`seal` would not make."""
    signal = open_signal(_sealed(Bye()), TO_BOB)
    body = msgspec.msgpack.encode(msgspec.structs.replace(signal, **changes))
    signature = ALICE.sign(b"irosh nostr signal v1\0" + TO_BOB.sender + TO_BOB.recipient + body)
    return msgspec.msgpack.encode({"body": body, "signature": signature})


@given(contents, st.binary(min_size=SESSION_SIZE, max_size=SESSION_SIZE), st.booleans())
def test_round_trip(content: Content, session: bytes, named: bool) -> None:
    recipient = BOB.public if named else None
    payload = seal(ALICE, TO_BOB, session, content, now=NOW, recipient=recipient)
    signal = open_signal(payload, TO_BOB)
    assert (signal.content, signal.session, signal.sender) == (content, session, ALICE.public)
    assert (signal.created, signal.expires, signal.recipient) == (NOW, NOW + LIFETIME, recipient)


@given(st.data())
def test_one_changed_byte_is_noticed(data: st.DataObject) -> None:
    payload = bytearray(_sealed(Request(b"description", b"invite")))
    index = data.draw(st.integers(0, len(payload) - 1))
    payload[index] ^= data.draw(st.integers(1, 255))
    try:
        signal = open_signal(bytes(payload), TO_BOB)
    except IroshError as error:
        assert error.code is ErrorCode.PROTOCOL
    else:
        # Only how the outer shell is spelled may differ, never what was signed.
        assert signal.content == Request(b"description", b"invite")


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused(payload: bytes) -> None:
    _refusal(payload)


def test_nested_garbage_is_refused() -> None:
    _refusal(b"\x91" * 10_000)


def test_it_is_bound_to_both_nostr_keys() -> None:
    payload = _sealed(Bye())
    _refusal(payload, Parties(b"x" * 32, TO_BOB.recipient))
    _refusal(payload, Parties(TO_BOB.sender, b"x" * 32))
    _refusal(payload, Parties(TO_BOB.recipient, TO_BOB.sender))


@pytest.mark.parametrize(
    "changes",
    [
        {"session": b"short"},
        {"nonce": b""},
        {"sender": b"x" * 31},
        {"sender": BOB.public},
        {"expires": NOW + LIFETIME + 1},
        {"expires": math.inf},
        {"expires": math.nan},
        {"expires": NOW - 1},
        {"created": -math.inf},
        {"created": math.inf, "expires": math.inf},
        {"version": 2},
    ],
)
def test_what_no_honest_sender_signs(changes: dict[str, object]) -> None:
    _refusal(_resigned(**changes))


def test_sizes_are_bounded() -> None:
    with pytest.raises(ValueError, match="too large"):
        _sealed(Request(bytes(MAX_SIZE)))
    assert "too large" in str(_refusal(bytes(MAX_SIZE + 1)))


@pytest.mark.parametrize("offset", [0.0, -CLOCK_TOLERANCE, CLOCK_TOLERANCE, CLOCK_TOLERANCE + LIFETIME])
def test_clocks_may_differ_a_little(offset: float) -> None:
    check_time(open_signal(_sealed(Bye()), TO_BOB), NOW + offset)


@pytest.mark.parametrize(
    ("offset", "words"),
    [
        (-CLOCK_TOLERANCE - 1, "2 minutes ahead"),
        (-3600.0, "60 minutes ahead"),
        (CLOCK_TOLERANCE + LIFETIME + 1, "3 minutes behind"),
        (1e8, "1157 days behind"),
    ],
)
def test_clocks_that_differ_more_are_told(offset: float, words: str) -> None:
    with pytest.raises(IroshError, match=words) as error:
        check_time(open_signal(_sealed(Bye()), TO_BOB), NOW + offset)
    assert error.value.code is ErrorCode.CLOCK_SKEW
    assert "clock" in error.value.hint


def _opened(count: int) -> list[Signal]:
    return [open_signal(_sealed(Bye()), TO_BOB) for _ in range(count)]


def test_a_message_is_new_once_for_as_long_as_it_is_valid() -> None:
    seen, (signal,) = SeenNonces(), _opened(1)
    assert seen.is_new(signal, NOW - CLOCK_TOLERANCE)
    for offset in (0.0, LIFETIME, LIFETIME + CLOCK_TOLERANCE):
        check_time(signal, NOW + offset)
        assert not seen.is_new(signal, NOW + offset)


@given(st.lists(st.floats(0, 100), max_size=60), st.integers(1, 20))
def test_what_has_been_seen_takes_bounded_space(pauses: list[float], capacity: int) -> None:
    seen, now = SeenNonces(capacity), NOW
    for pause, signal in zip(pauses, _opened(len(pauses)), strict=True):
        now += pause
        assert seen.is_new(signal, now)
        assert not seen.is_new(signal, now)
        assert len(seen) <= capacity


def test_what_has_expired_is_forgotten() -> None:
    seen = SeenNonces()
    for signal in _opened(50):
        seen.is_new(signal, NOW)
    seen.is_new(_opened(1)[0], NOW + 10_000)
    assert len(seen) == 1


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(Request(b"secret", b"secret")) + repr(Answer(b"secret"))


def test_a_refusal_carries_an_error() -> None:
    refusal = Refusal.of(IroshError(ErrorCode.BUSY, "m" * 1000, "h" * 1000))
    assert refusal.error().code is ErrorCode.BUSY
    assert len(refusal.message) == len(refusal.hint) == 500
    _sealed(refusal)
