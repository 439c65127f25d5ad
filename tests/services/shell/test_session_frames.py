"""The frames of the session service: whatever is packed is read again, however it is cut."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.shell.persistent.codec import (
    MAX_PAYLOAD,
    Answer,
    End,
    FrameKind,
    FrameReader,
    Manage,
    Notice,
    Size,
    Welcome,
    decode,
    encode,
    pack,
)

frames = st.lists(st.tuples(st.sampled_from(FrameKind), st.binary(max_size=300)), max_size=20)


@given(frames, st.lists(st.integers(0, 6000), max_size=10))
def test_frames_are_read_as_they_were_packed_wherever_they_are_cut(
    sent: list[tuple[FrameKind, bytes]], cuts: list[int]
) -> None:
    data = b"".join(pack(kind, payload) for kind, payload in sent)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    reader = FrameReader()
    read = [frame for start, end in pairwise(places) for frame in reader.feed(data[start:end])]
    assert read == sent


def test_the_longest_payload_fits_and_a_longer_one_does_not() -> None:
    assert FrameReader().feed(pack(FrameKind.OUTPUT, bytes(MAX_PAYLOAD))) == [(FrameKind.OUTPUT, bytes(MAX_PAYLOAD))]
    with pytest.raises(ValueError, match="does not fit"):
        pack(FrameKind.OUTPUT, bytes(MAX_PAYLOAD + 1))


@given(st.binary(max_size=2000))
def test_arbitrary_bytes_give_frames_or_a_protocol_error(data: bytes) -> None:
    reader = FrameReader()
    try:
        for kind, payload in reader.feed(data):
            assert kind in FrameKind
            assert len(payload) <= MAX_PAYLOAD
    except IroshError as error:
        assert error.code is ErrorCode.PROTOCOL


@given(st.binary(max_size=500), st.sampled_from([Size, Manage, Answer, Welcome, Notice, End]))
def test_arbitrary_payloads_give_a_message_or_a_protocol_error(data: bytes, kind: type[Size]) -> None:
    try:
        assert isinstance(decode(data, kind), kind)
    except IroshError as error:
        assert error.code is ErrorCode.PROTOCOL


@given(
    st.builds(
        Manage,
        command=st.text(max_size=20),
        name=st.none() | st.text(max_size=20),
        guest=st.none() | st.text(max_size=9),
    )
)
def test_a_message_comes_back_as_it_was(message: Manage) -> None:
    assert decode(encode(message), Manage) == message


@pytest.mark.parametrize("event", ["backgrounded", "session", "question", "factor", "connected", "shared", "block", ""])
def test_a_host_cannot_forge_what_the_node_says(event: str) -> None:
    """A notice becomes an event of the command: it would take others than a session's for its own node's."""
    with pytest.raises(IroshError) as caught:
        decode(msgspec.msgpack.encode({"event": event, "who": "host"}), Notice)
    assert caught.value.code is ErrorCode.PROTOCOL
