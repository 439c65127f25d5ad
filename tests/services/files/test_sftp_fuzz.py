"""Any bytes at all, in the place of an SFTP client."""

from __future__ import annotations

import os
import struct
import threading
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from irosh.services.files.sftp_server import EXTENSIONS, SFTPServer
from irosh.services.files.sftp_wire import BadPacket, Packet, Reader
from irosh.services.files.tree import Tree
from irosh.services.files.view import confined
from tests.support.sftp_client import long, number, text

names = st.sampled_from(
    [
        b"",
        b".",
        b"..",
        b"/",
        b"file",
        b"sub",
        b"sub/link",
        b"out",
        b"out/secret",
        b"../secret",
        b"new",
        b"a\0b",
        b"\xff",
    ]
)
fields = st.one_of(
    names.map(text),
    st.integers(0, 3).map(lambda handle: text(number(handle))),
    st.sampled_from([0, 1, 2, 4, 8, 15, 26, 58, 2**31, 2**32 - 1]).map(number),
    st.sampled_from([0, 1, 5, 2**31, 2**62, 2**64 - 1]).map(long),
    st.sampled_from(sorted(EXTENSIONS)).map(text),
    st.binary(max_size=12),
)
kinds = st.one_of(st.sampled_from(list(Packet)), st.integers(0, 255))
requests = st.lists(st.tuples(kinds, st.lists(fields, max_size=5).map(b"".join)), max_size=25)


@settings(max_examples=300, deadline=None)
@given(requests, st.binary(max_size=20), st.booleans())
def test_requests_of_any_kind_get_a_reply_each_and_stay_inside(
    asked: list[tuple[int, bytes]], rest: bytes, read_only: bool
) -> None:
    with TemporaryDirectory() as directory:
        share = Path(directory, "share")
        (share / "sub").mkdir(parents=True)
        (share / "file").write_bytes(b"content")
        (share / "sub/link").symlink_to("../file")
        (share / "out").symlink_to("..")
        secret = Path(directory, "secret")
        secret.write_bytes(b"secret")
        before = secret.stat()
        said = struct.pack(">IBI", 5, Packet.INIT, 3)
        for position, (kind, body) in enumerate(asked):
            said += struct.pack(">IBI", 5 + len(body), kind, position) + body
        replies = _serve(Tree(confined([(str(share), read_only)])), said + rest)
        assert secret.read_bytes() == b"secret"
        after = secret.stat()
        assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (before.st_ino, before.st_mode, before.st_mtime_ns)
        assert sorted(os.listdir(directory)) == ["secret", "share"]
        if read_only:
            assert (share / "file").read_bytes() == b"content" and sorted(os.listdir(share)) == ["file", "out", "sub"]
        _check_numbers(replies, asked)


def _serve(tree: Tree, said: bytes) -> bytes:
    source, feed = os.pipe()
    drain, sink = os.pipe()
    replies = bytearray()

    def collect() -> None:
        while data := os.read(drain, 65_536):
            replies.extend(data)

    def send() -> None:
        os.write(feed, said)
        os.close(feed)

    threads = [threading.Thread(target=collect), threading.Thread(target=send)]
    for thread in threads:
        thread.start()
    try:
        with suppress(BadPacket):
            SFTPServer(tree, source, sink).run()
    finally:
        os.close(sink)
        for thread in threads:
            thread.join()
        tree.close()
        os.close(source)
        os.close(drain)
    return bytes(replies)


def _check_numbers(replies: bytes, asked: list[tuple[int, bytes]]) -> None:
    """Every request has its reply, in their order; whole packets only."""
    seen = []
    while replies:
        size = int.from_bytes(replies[:4], "big")
        packet, replies = replies[4 : 4 + size], replies[4 + size :]
        assert len(packet) == size
        reader = Reader(packet)
        if reader.byte() != Packet.VERSION:
            seen.append(reader.uint32())
    assert seen[: len(asked)] == list(range(len(asked)))
