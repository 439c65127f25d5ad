"""What a tunnel keeps of TCP and Unix sockets: bytes, half-close, resets; and that it takes thousands of them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
import socket
import struct
from pathlib import Path

import pytest

from tests.lab.irosh_process import IroshProcess, Tunnel
from tests.lab.pair import PEER, Pair
from tests.lab.processes import wait_until
from tests.lab.servers import TIMEOUT, StreamHandler, echo, read_all, tcp_server, unix_server

CONNECTIONS = 2_000
DEADLINE = 120.0
MEBIBYTE = 1024 * 1024


def dial(tunnel: Tunnel, index: int = 0) -> socket.socket:
    """A TCP connection through a tunnel."""
    return socket.create_connection(tunnel.address(index), TIMEOUT)


def reset(connection: socket.socket) -> None:
    """Close with a TCP reset instead of an orderly end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_half_close_by_the_client(loopback_pair: Pair) -> None:
    def answer_at_the_end(connection: socket.socket) -> None:
        request = read_all(connection)
        connection.sendall(b"%d bytes and the end\n" % len(request))

    with (
        tcp_server(answer_at_the_end) as port,
        loopback_pair.client.tunnel(PEER, f"tcp://127.0.0.1:{port}=127.0.0.1:0") as tunnel,
        dial(tunnel) as connection,
    ):
        connection.sendall(bytes(3_000_000))
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b"3000000 bytes and the end\n"


def test_half_close_by_the_server(loopback_pair: Pair) -> None:
    received: list[bytes] = []

    def speak_first(connection: socket.socket) -> None:
        connection.sendall(b"hello and no more\n")
        connection.shutdown(socket.SHUT_WR)
        received.append(read_all(connection))

    with (
        tcp_server(speak_first) as port,
        loopback_pair.client.tunnel(PEER, f"tcp://127.0.0.1:{port}=127.0.0.1:0") as tunnel,
    ):
        with dial(tunnel) as connection:
            assert read_all(connection) == b"hello and no more\n"
            connection.sendall(bytes(2_000_000))
        wait_until(lambda: received, what="the server has read everything")
    assert received == [bytes(2_000_000)]


def test_a_reset_by_the_server_reaches_the_client(loopback_pair: Pair) -> None:
    def break_off(connection: socket.socket) -> None:
        connection.recv(1)
        reset(connection)

    with (
        tcp_server(break_off) as port,
        loopback_pair.client.tunnel(PEER, f"tcp://127.0.0.1:{port}=127.0.0.1:0") as tunnel,
        dial(tunnel) as connection,
    ):
        connection.sendall(b"x")
        with pytest.raises(OSError) as failure:
            read_all(connection)
        assert failure.value.errno == errno.ECONNRESET


def test_a_reset_by_the_client_reaches_the_server(loopback_pair: Pair) -> None:
    outcomes: list[object] = []

    def listen(connection: socket.socket) -> None:
        connection.sendall(b"x")
        try:
            outcomes.append(read_all(connection))
        except OSError as error:
            outcomes.append(error.errno)

    with (
        tcp_server(listen) as port,
        loopback_pair.client.tunnel(PEER, f"tcp://127.0.0.1:{port}=127.0.0.1:0") as tunnel,
    ):
        connection = dial(tunnel)
        assert connection.recv(1) == b"x"
        reset(connection)
        wait_until(lambda: outcomes, what="the server has noticed")
    assert outcomes == [errno.ECONNRESET]


def test_several_maps_at_once(loopback_pair: Pair) -> None:
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(tcp_server(_sayer(name))) for name in (b"one", b"two", b"three")]
        maps = [f"tcp://127.0.0.1:{port}=127.0.0.1:0" for port in ports]
        tunnel = stack.enter_context(loopback_pair.client.tunnel(PEER, *maps))
        assert len(set(tunnel.listens)) == 3
        said = [read_all(stack.enter_context(dial(tunnel, index))) for index in range(3)]
    assert said == [b"one", b"two", b"three"]


def test_ipv6_at_both_ends(loopback_pair: Pair) -> None:
    with (
        tcp_server(_sayer(b"six"), address="::1") as port,
        loopback_pair.client.tunnel(PEER, f"tcp://[::1]:{port}=[::1]:0") as tunnel,
        dial(tunnel) as connection,
    ):
        assert connection.family == socket.AF_INET6
        assert read_all(connection) == b"six"


def test_unix_sockets_at_both_ends(loopback_pair: Pair, tmp_path: Path) -> None:
    client = loopback_pair.add_client(tmp_path / "client", allow=[f"forward:unix://{tmp_path}/*.sock"])
    source, listen = tmp_path / "there.sock", tmp_path / "here.sock"
    with (
        unix_server(echo, source),
        client.tunnel(PEER, f"unix://{source}=unix://{listen}"),
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection,
    ):
        assert listen.stat().st_mode & 0o777 == 0o600
        connection.settimeout(TIMEOUT)
        connection.connect(str(listen))
        connection.sendall(b"through Unix sockets")
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b"through Unix sockets"
    assert not listen.exists()


def test_thousands_of_connections_at_once(loopback_pair: Pair) -> None:
    _allow_open_files(2 * CONNECTIONS + 500)
    host = loopback_pair.host_process
    descriptors, memory = host.descriptors(), host.memory
    with (
        socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS) as listener,
        loopback_pair.client.tunnel(PEER, f"tcp://127.0.0.1:{listener.getsockname()[1]}=127.0.0.1:0") as tunnel,
    ):
        held = asyncio.run(_hold_and_echo(listener, tunnel.address(), host))
        assert held >= CONNECTIONS
        assert host.memory - memory < 256 * MEBIBYTE
        wait_until(lambda: host.descriptors() <= descriptors + 2, what="the host has closed every connection")


def _sayer(text: bytes) -> StreamHandler:
    return lambda connection: connection.sendall(text)


def _allow_open_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"needs {wanted} open files, the limit is {hard}")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _hold_and_echo(listener: socket.socket, address: tuple[str, int], host: IroshProcess) -> int:
    """Echo through all connections twice, holding all; returns how many files the host had open meanwhile."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def exchange(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        message = b"%08d" % number * 128
        writer.write(message)
        assert await reader.readexactly(len(message)) == message

    places = asyncio.Semaphore(100)

    async def connect(number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with places:
            reader, writer = await asyncio.open_connection(*address)
            await exchange(number, reader, writer)
        return reader, writer

    async with await asyncio.start_server(serve, sock=listener), asyncio.timeout(DEADLINE):
        connections = await asyncio.gather(*(connect(number) for number in range(CONNECTIONS)))
        held = host.descriptors()
        await asyncio.gather(*(exchange(number, *each) for number, each in enumerate(connections)))
        for reader, writer in connections:
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
        return held
