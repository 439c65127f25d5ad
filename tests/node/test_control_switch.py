"""A control connection that becomes a byte stream after its answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.node.control_client import ControlClient
from irosh.node.control_wire import pack_message

BYTES = b"SSH-2.0-the first bytes of the stream, sent together with the answer"


@contextmanager
def node_that_says(path: Path, said: bytes) -> Iterator[ControlClient]:
    """A client of a node that answers its first request with ``said`` and leaves."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(said)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with ControlClient(path) as client:
                client.socket.settimeout(10)
                yield client
        finally:
            thread.join()


def test_bytes_that_come_with_the_answer_are_left_in_the_socket(tmp_path: Path) -> None:
    said = pack_message({"event": "connecting"}) + pack_message({"ok": True}) + BYTES
    with node_that_says(tmp_path / "control.sock", said) as client:
        client.switch("proxy", {"target": "box"})
        with client.socket.makefile("rb") as stream:
            assert stream.read() == BYTES


def test_a_bad_answer_is_raised(tmp_path: Path) -> None:
    error = IroshError(ErrorCode.UNKNOWN_TARGET, "no such peer")
    said = pack_message({"ok": False, "error": error.to_dict()})
    with node_that_says(tmp_path / "control.sock", said) as client, pytest.raises(IroshError) as failure:
        client.switch("proxy", {"target": "nobody"})
    assert failure.value.code is ErrorCode.UNKNOWN_TARGET


def test_a_node_that_leaves_before_its_answer(tmp_path: Path) -> None:
    said = pack_message({"ok": True})[:-1]
    with node_that_says(tmp_path / "control.sock", said) as client, pytest.raises(IroshError) as failure:
        client.switch("proxy", {"target": "box"})
    assert failure.value.code is ErrorCode.CONNECTION_LOST
