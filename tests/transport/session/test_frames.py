"""The messages of a session: what is written is read again, always fits a frame, and garbage raises the one error."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.wire import LENGTH_SIZE, encode_frame, frame_length
from irosh.transport.session.frames import (
    MAX_ENTRIES,
    MAX_OFFSET,
    MAX_PROGRESS,
    NOTHING_WANTED,
    RESUMED_SIZE,
    START_SIZE,
    Acks,
    Control,
    Heard,
    Live,
    Ping,
    Pong,
    Progress,
    ReceiveState,
    StartKind,
    StreamResumed,
    StreamStart,
    Told,
    decode_control,
    unpack_resumed,
    unpack_start,
)

numbers = st.integers(0, 2**64 - 1)
pairs = st.lists(st.tuples(numbers, numbers), max_size=40)
messages = st.one_of(
    st.builds(Ping, numbers),
    st.builds(Pong, numbers),
    st.builds(Acks, pairs),
    st.builds(Live, st.lists(numbers, max_size=40), st.booleans()),
    st.builds(Progress, st.lists(st.tuples(numbers, numbers, numbers), max_size=40), pairs),
    st.builds(Told, numbers, numbers, numbers, numbers),
    st.builds(Heard, numbers),
)
offsets = st.integers(0, MAX_OFFSET)
states = st.integers(0, 7).map(ReceiveState)


@given(messages)
def test_control_messages_are_read_as_written(message: Control) -> None:
    frame = encode_frame(message)
    assert frame_length(frame[:LENGTH_SIZE]) == len(frame) - LENGTH_SIZE
    assert decode_control(frame[LENGTH_SIZE:]) == message


@given(st.binary(max_size=200))
def test_garbage_raises_the_one_error_or_is_a_message(body: bytes) -> None:
    try:
        message = decode_control(body)
    except IroshError as error:
        assert error.code is ErrorCode.PROTOCOL
    else:
        assert decode_control(encode_frame(message)[LENGTH_SIZE:]) == message


@given(messages, st.data())
def test_a_damaged_message_raises_nothing_else(message: Control, data: st.DataObject) -> None:
    body = bytearray(encode_frame(message)[LENGTH_SIZE:])
    position = data.draw(st.integers(0, len(body) - 1))
    body[position] ^= data.draw(st.integers(1, 255))
    try:
        decode_control(bytes(body))
    except IroshError as error:
        assert error.code is ErrorCode.PROTOCOL


def test_the_largest_messages_fit_a_frame() -> None:
    most = 2**64 - 1
    encode_frame(Acks([(most, most)] * MAX_ENTRIES))
    encode_frame(Live([most] * MAX_ENTRIES, complete=False))
    encode_frame(Progress([(most, most, most)] * MAX_PROGRESS, [(most, most)] * MAX_PROGRESS))


def test_nothing_wanted_is_no_offset() -> None:
    assert NOTHING_WANTED > MAX_OFFSET


@given(st.sampled_from(StartKind), numbers, offsets, states)
def test_starts_are_read_as_written(kind: StartKind, stream: int, received: int, state: ReceiveState) -> None:
    start = StreamStart(kind, stream, received, state)
    assert len(start.pack()) == START_SIZE
    assert unpack_start(start.pack()) == start


@given(st.booleans(), offsets, states)
def test_answers_are_read_as_written(known: bool, received: int, state: ReceiveState) -> None:
    answer = StreamResumed(known, received, state)
    assert len(answer.pack()) == RESUMED_SIZE
    assert unpack_resumed(answer.pack()) == answer


@given(st.binary(min_size=START_SIZE, max_size=START_SIZE))
def test_any_start_is_understood_or_refused(data: bytes) -> None:
    try:
        start = unpack_start(data)
    except IroshError as error:
        assert error.code is ErrorCode.PROTOCOL
    else:
        assert start.pack() == data
        assert start.received <= MAX_OFFSET


@given(st.binary(min_size=RESUMED_SIZE, max_size=RESUMED_SIZE))
def test_any_answer_is_understood_or_refused(data: bytes) -> None:
    try:
        answer = unpack_resumed(data)
    except IroshError as error:
        assert error.code is ErrorCode.PROTOCOL
    else:
        assert answer.received <= MAX_OFFSET


def test_flags_of_later_versions_are_passed_over() -> None:
    data = bytearray(StreamStart(StartKind.RESUMED, 0, 0, ReceiveState.ENDED).pack())
    data[-1] |= 128
    assert unpack_start(bytes(data)).state & ReceiveState.ENDED
