"""Real programs through tunnels, which know nothing of them: iperf3, curl, dig, Redis."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.iperf import iperf3
from tests.lab.irosh_process import Tunnel
from tests.lab.machine import LOCAL
from tests.lab.pair import PEER, Pair
from tests.lab.requirements import requires
from tests.lab.servers import dns_responder, listens, udp_server, unused_port


@pytest.fixture
def iperf3_tunnel(loopback_pair: Pair) -> Iterator[Tunnel]:
    """iperf3's server, whose TCP and UDP ports have the same number, as its client expects.

    Each test has a server of its own: nothing orders UDP with TCP, and a packet of one run that comes late begins the
    next run in place of its own first packet, whose client then waits in vain.
    """
    there, here = unused_port(), unused_port()
    maps = [f"{protocol}://127.0.0.1:{there}=127.0.0.1:{here}" for protocol in ("tcp", "udp")]
    with (
        LOCAL.running("iperf3", "-s", "-B", "127.0.0.1", "-p", str(there), ready=lambda: listens(there)),
        loopback_pair.client.tunnel(PEER, *maps) as tunnel,
    ):
        yield tunnel


@requires("iperf3")
class TestIperf3:
    """Throughput, in both directions, and UDP with packets that fit a QUIC datagram and that do not."""

    @pytest.mark.parametrize("direction", [(), ("-R",)], ids=["up", "down"])
    def test_tcp(self, iperf3_tunnel: Tunnel, direction: tuple[str, ...]) -> None:
        end = iperf3(iperf3_tunnel.address()[1], "-n", "100M", *direction)
        # The server counts until the client says that it has sent all; the rest is still on the way through the tunnel.
        assert end["sum_received"]["bytes"] >= 50 * 1024 * 1024

    def test_tcp_with_parallel_streams(self, iperf3_tunnel: Tunnel) -> None:
        end = iperf3(iperf3_tunnel.address()[1], "-t", "2", "-P", "8")  # by bytes, the first could take all
        assert len(end["streams"]) == 8
        assert all(stream["receiver"]["bytes"] > 0 for stream in end["streams"])

    @pytest.mark.parametrize("direction", [(), ("-R",)], ids=["up", "down"])
    @pytest.mark.parametrize("size", [1_000, 8_000])
    def test_udp(self, iperf3_tunnel: Tunnel, size: int, direction: tuple[str, ...]) -> None:
        end = iperf3(iperf3_tunnel.address()[1], "-u", "-l", str(size), "-b", "8M", "-n", "2M", *direction)
        assert end["sum"]["packets"] > 0
        # The network loses nothing; what a busy machine drops is bounded generously.
        assert end["sum"]["lost_percent"] < 20


@requires("curl")
def test_curl(loopback_pair: Pair, tmp_path: Path) -> None:
    content = os.urandom(20_000_000)
    (tmp_path / "file.bin").write_bytes(content)
    port = unused_port()
    server = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(tmp_path), str(port))
    with (
        LOCAL.running(*server, ready=lambda: listens(port)),
        loopback_pair.client.tunnel(PEER, f"tcp://127.0.0.1:{port}=127.0.0.1:0") as tunnel,
    ):
        host, listen = tunnel.address()
        fetched = LOCAL.run("curl", "--silent", "--show-error", "--fail", f"http://{host}:{listen}/file.bin").stdout
        missing = LOCAL.run("curl", "--silent", "--fail", f"http://{host}:{listen}/missing", check=False)
    assert hashlib.sha256(fetched).digest() == hashlib.sha256(content).digest()
    assert missing.returncode == 22


@requires("dig")
def test_dig(loopback_pair: Pair) -> None:
    with (
        udp_server(dns_responder("192.0.2.53")) as port,
        loopback_pair.client.tunnel(PEER, f"udp://127.0.0.1:{port}=127.0.0.1:0") as tunnel,
    ):
        host, listen = tunnel.address()
        done = LOCAL.run("dig", f"@{host}", "-p", str(listen), "+short", "+tries=5", "box.example", "A")
    assert done.stdout == b"192.0.2.53\n"


@requires("redis-server", "redis-cli")
class TestRedis:
    """Redis's own client, by TCP and by Unix sockets."""

    def test_by_tcp(self, loopback_pair: Pair, tmp_path: Path) -> None:
        port = unused_port()
        with (
            redis_server(tmp_path, "--bind", "127.0.0.1", "--port", str(port), ready=lambda: listens(port)),
            loopback_pair.client.tunnel(PEER, f"tcp://127.0.0.1:{port}=127.0.0.1:0") as tunnel,
        ):
            host, listen = tunnel.address()
            use_redis("-h", host, "-p", str(listen))

    def test_by_unix_sockets(self, loopback_pair: Pair, tmp_path: Path) -> None:
        client = loopback_pair.add_client(tmp_path / "client", allow=[f"forward:unix://{tmp_path}/redis.sock"])
        there, here = tmp_path / "redis.sock", tmp_path / "here.sock"
        with (
            redis_server(tmp_path, "--port", "0", "--unixsocket", str(there), ready=there.exists),
            client.tunnel(PEER, f"unix://{there}=unix://{here}"),
        ):
            use_redis("-s", str(here))


@contextmanager
def redis_server(directory: Path, *options: str, ready: Callable[[], object]) -> Iterator[None]:
    """A Redis that keeps nothing."""
    settings = ("--save", "", "--appendonly", "no", "--dir", str(directory))
    with LOCAL.running("redis-server", *settings, *options, ready=ready):
        yield


def use_redis(*where: str) -> None:
    """Store and fetch a value larger than any buffer on the way; many commands on one connection."""

    def redis(*command: str, stdin: bytes = b"") -> bytes:
        return LOCAL.run("redis-cli", *where, *command, stdin=stdin).stdout

    value = os.urandom(2_000_000).hex().encode()
    assert redis("-x", "SET", "large", stdin=value) == b"OK\n"
    assert redis("GET", "large") == value + b"\n"
    assert redis(stdin=b"INCR counter\n" * 500).splitlines()[-1] == b"500"
