"""The frames of a transfer: they come out as they went in, however the bytes are cut; nothing else gets through."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.files.transfer.frames import (
    HEADER,
    MAX_PAYLOAD,
    Answers,
    Begin,
    Failure,
    Fatal,
    Folder,
    FrameBuffer,
    Kind,
    Link,
    Offers,
    Order,
    Pack,
    Problem,
    Result,
    Same,
    Sources,
    Totals,
    checked_parts,
    decode,
    encode,
    header,
)

MESSAGES = (Order, Sources, Folder, Link, Pack, Offers, Begin, Totals, Problem, Answers, Same, Failure, Result, Fatal)

names = st.binary(min_size=1, max_size=255)
parts = st.lists(names, max_size=8)
numbers = st.integers(0, 1 << 48)
times = st.integers(-(1 << 62), 1 << 62)
frames = st.tuples(st.sampled_from(Kind), st.binary(max_size=300) | st.just(bytes(MAX_PAYLOAD)))


@given(st.lists(frames, max_size=20), st.lists(st.integers(1, 5000), min_size=1))
def test_frames_come_out_as_they_went_in_however_they_are_cut(sent: list[tuple[Kind, bytes]], cuts: list[int]) -> None:
    stream = b"".join(header(kind, len(payload)) + payload for kind, payload in sent)
    buffer = FrameBuffer()
    received: list[tuple[Kind, bytes]] = []
    position = turn = 0
    while position < len(stream):
        space = buffer.space()
        assert space
        size = min(len(space), cuts[turn % len(cuts)] * (1 if len(stream) < 100_000 else 97), len(stream) - position)
        space[:size] = stream[position : position + size]
        buffer.filled(size)
        position += size
        turn += 1
        while (frame := buffer.take()) is not None:
            received.append((frame[0], bytes(frame[1])))
    assert received == sent
    assert buffer.is_empty


@given(st.binary(max_size=2000))
def test_any_bytes_are_frames_or_a_protocol_error(data: bytes) -> None:
    buffer = FrameBuffer()
    buffer.space()[: len(data)] = data
    buffer.filled(len(data))
    try:
        while buffer.take() is not None:
            pass
    except IroshError as error:
        assert error.code is ErrorCode.PROTOCOL


@given(st.sampled_from(MESSAGES), st.binary(max_size=500))
def test_any_payload_is_a_message_or_a_protocol_error(kind: type[msgspec.Struct], payload: bytes) -> None:
    try:
        decode(payload, kind)
    except IroshError as error:
        assert error.code is ErrorCode.PROTOCOL


def test_a_frame_over_the_limit_is_refused_before_it_is_read() -> None:
    buffer = FrameBuffer()
    head = HEADER.pack(Kind.DATA, MAX_PAYLOAD + 1)
    buffer.space()[: len(head)] = head
    buffer.filled(len(head))
    with pytest.raises(IroshError, match="over the limit"):
        buffer.take()
    with pytest.raises(IroshError, match="too many names"):
        header(Kind.DATA, MAX_PAYLOAD + 1)


@given(st.builds(Folder, numbers, parts, st.integers(0, 0o7777), times))
def test_folders(folder: Folder) -> None:
    assert decode(encode(folder), Folder) == folder


@given(
    st.builds(Begin, numbers, numbers, parts, st.integers(0, 1 << 62), st.just(0o644), times, st.just(0), st.booleans())
)
def test_begins(begin: Begin) -> None:
    assert decode(encode(begin), Begin) == begin


@pytest.mark.parametrize(
    "message",
    [
        Folder(0, [b""], 0o755, 0),
        Folder(0, [b"x" * 256], 0o755, 0),
        Folder(0, [b"x"], 0o10000, 0),
        Folder(-1, [b"x"], 0, 0),
        Folder(0, [b"x"] * 513, 0, 0),
        Begin(0, 0, [b"x"], -1, 0, 0, 0, False),
        Begin(0, 0, [b"x"], 1 << 63, 0, 0, 0, False),
        Link(0, [b"x"], b"", 0),
        Order(1, False, []),
        Pack([]).__class__([None]),  # type: ignore[list-item]
    ],
)
def test_values_outside_their_limits_are_refused(message: msgspec.Struct) -> None:
    with pytest.raises(IroshError) as failure:
        decode(encode(message), type(message))
    assert failure.value.code is ErrorCode.PROTOCOL


@pytest.mark.parametrize("name", [b".", b"..", b"a/b", b"/", b"a\0", b"/etc"])
def test_names_that_lead_elsewhere_are_refused(name: bytes) -> None:
    with pytest.raises(IroshError) as failure:
        checked_parts([b"fine", name])
    assert failure.value.code is ErrorCode.PROTOCOL


@given(parts)
def test_checked_parts_name_something_in_their_folder(given_parts: list[bytes]) -> None:
    try:
        checked = checked_parts(given_parts)
    except IroshError:
        return
    assert not any(b"/" in part or b"\0" in part or part in (b"", b".", b"..") for part in checked)


def test_errors_travel() -> None:
    error = IroshError(ErrorCode.DISK_FULL, "no room", "make some")
    assert decode(encode(Fatal.of(error)), Fatal).error().to_dict() == error.to_dict()
