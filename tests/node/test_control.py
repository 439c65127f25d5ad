"""The control socket: its frames, its answers, and clients that leave or misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode, IroshError
from irosh.node.control import Channel
from irosh.node.control_client import ControlClient, attach
from irosh.node.control_wire import (
    CONTROL_VERSION,
    MAX_PAYLOAD,
    PREFIX,
    FrameParser,
    Kind,
    pack,
    pack_message,
    parse_message,
)
from irosh.node.node import Node
from irosh.transport.tasks import first_to_end
from tests.support.nodes import DEADLINE, running_node

T = TypeVar("T")


@given(st.lists(st.tuples(st.sampled_from(Kind), st.binary(max_size=200))), st.integers(1, 50))
def test_frames_survive_any_cutting(frames: list[tuple[Kind, bytes]], size: int) -> None:
    data = b"".join(pack(kind, payload) for kind, payload in frames)
    parser = FrameParser()
    parsed = []
    for start in range(0, len(data), size):
        parsed += parser.feed(data[start : start + size])
    assert parsed == frames


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_frames_or_a_protocol_error(data: bytes) -> None:
    try:
        for kind, payload in FrameParser().feed(data):
            assert isinstance(kind, Kind)
            assert len(payload) <= MAX_PAYLOAD
    except IroshError as error:
        assert error.code is ErrorCode.PROTOCOL


@given(st.binary(max_size=100))
def test_messages_are_objects_or_a_protocol_error(payload: bytes) -> None:
    try:
        assert isinstance(parse_message(payload), dict)
    except IroshError as error:
        assert error.code is ErrorCode.PROTOCOL


def _with_node(tmp_path: Path, test: Callable[[Node, Path], Any]) -> None:
    """Run ``test`` in a thread, as another process would be, against a node's control socket."""

    async def body() -> None:
        async with running_node(tmp_path / "state") as node, asyncio.timeout(DEADLINE):
            await asyncio.to_thread(test, node, node.state.control_socket_path)

    asyncio.run(body())


def test_only_the_owner_can_open_the_socket(tmp_path: Path) -> None:
    def test(_node: Node, path: Path) -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    _with_node(tmp_path, test)


def test_status_and_unknown_operations(tmp_path: Path) -> None:
    def test(node: Node, path: Path) -> None:
        with ControlClient(path) as client:
            status = client.call("status", {})
            assert status["id"] == node.identity.id
            assert status["pid"] == os.getpid()
        with ControlClient(path) as client, pytest.raises(IroshError) as error:
            client.call("no-such-operation", {})
        assert error.value.code is ErrorCode.PROTOCOL

    _with_node(tmp_path, test)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        PREFIX.pack(MAX_PAYLOAD + 1, 0),
        PREFIX.pack(3, 9) + b"abc",
        pack(Kind.MESSAGE, b"not json"),
        pack(Kind.MESSAGE, b"[]"),
        pack(Kind.STDIN, b"x"),
        pack_message({"op": "status", "version": 999}),
        pack_message({"op": "peers", "version": CONTROL_VERSION, "command": "list", "arguments": {"no": "such"}}),
        pack_message({"op": "peers", "version": CONTROL_VERSION}),
        pack_message({"op": "connect", "version": CONTROL_VERSION}),
        pack_message({"op": "connect", "version": CONTROL_VERSION, "target": "nobody", "size": "wide"}),
        pack_message({"op": "tunnel.open", "version": CONTROL_VERSION, "target": "nobody", "maps": [{}]}),
        pack_message({"op": "tunnel.open", "version": CONTROL_VERSION, "target": "nobody", "maps": "x"}),
    ],
)
def test_malformed_requests_are_answered_and_the_node_goes_on(tmp_path: Path, sent: bytes) -> None:
    def test(_node: Node, path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as raw:
            raw.settimeout(DEADLINE)
            raw.connect(str(path))
            raw.sendall(sent)
            raw.shutdown(socket.SHUT_WR)
            answer = b""
            with contextlib.suppress(ConnectionResetError):  # it did not read all we sent
                while data := raw.recv(65536):
                    answer += data
        if sent:
            assert b'"ok":false' in answer or not answer
            assert b"internal" not in answer
        with ControlClient(path) as client:
            assert client.call("status", {})["running"]

    _with_node(tmp_path, test)


def test_a_client_that_leaves_cancels_its_operation(tmp_path: Path) -> None:
    cancelled = asyncio.Event()

    async def body() -> None:
        async with running_node(tmp_path / "state") as node, asyncio.timeout(DEADLINE):

            async def forever(channel: Channel, _request: dict[str, Any]) -> None:
                async def work() -> None:
                    await channel.event("started")
                    try:
                        await asyncio.Event().wait()
                    finally:
                        cancelled.set()

                await channel.while_connected(work())

            node.add_operations({"forever": forever})
            client = await asyncio.to_thread(ControlClient, node.state.control_socket_path)
            client.request("forever", {})
            assert (await asyncio.to_thread(lambda: next(client.messages())))["event"] == "started"
            client.close()
            await cancelled.wait()
            await node.control.wait_unused()

    asyncio.run(body())


def test_an_error_is_told_whole_though_a_client_has_not_taken_what_was_being_sent(tmp_path: Path) -> None:
    said = "x" * (MAX_PAYLOAD // 2)

    async def body() -> None:
        async with running_node(tmp_path / "state") as node, asyncio.timeout(DEADLINE):
            refused = asyncio.Event()

            async def fail(channel: Channel, _request: dict[str, Any]) -> None:
                async def work() -> None:
                    await refused.wait()
                    raise IroshError(ErrorCode.DENIED, "no more")

                await first_to_end(work(), channel.event("large", said=said))

            node.add_operations({"fail": fail})
            client = await asyncio.to_thread(ControlClient, node.state.control_socket_path)
            with client:
                client.request("fail", {})
                while not select.select([client.socket], [], [], 0)[0]:
                    await asyncio.sleep(0.01)
                refused.set()
                messages = client.messages()
                assert await asyncio.to_thread(next, messages) == {"event": "large", "said": said}
                with pytest.raises(IroshError) as error:
                    await asyncio.to_thread(next, messages)
                assert error.value.code is ErrorCode.DENIED

    asyncio.run(body())


def test_attaching_to_nothing_is_none(tmp_path: Path) -> None:
    assert attach(tmp_path / "no.sock") is None


def test_a_second_node_on_the_state_is_refused_with_the_holder_named(tmp_path: Path) -> None:
    async def body() -> None:
        async with running_node(tmp_path / "state"):
            with pytest.raises(IroshError) as error:
                async with running_node(tmp_path / "state"):
                    raise AssertionError("two nodes hold one state directory")
            assert error.value.code is ErrorCode.STATE_IN_USE
            assert str(os.getpid()) in error.value.message

    asyncio.run(body())


def test_the_socket_is_gone_afterwards(tmp_path: Path) -> None:
    paths: list[Path] = []

    async def body() -> None:
        async with running_node(tmp_path / "state") as node:
            paths.append(node.state.control_socket_path)
            assert paths[0].exists()

    asyncio.run(body())
    assert not paths[0].exists()
