"""Real programs through forwards: curl, a browser, nc, iperf3, and a client of SOCKS' UDP ASSOCIATE."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from irosh.core.socks import pack_datagram
from tests.lab.forwards import Forwards, forwarding
from tests.lab.iperf import iperf3
from tests.lab.machine import LOCAL
from tests.lab.pair import PEER, Pair
from tests.lab.processes import wait_until
from tests.lab.requirements import find_program, requires
from tests.lab.servers import TIMEOUT, dns_responder, echo, listens, tcp_server, udp_server, unused_port
from tests.lab.socks import Association
from tests.support.compatibility import shows

CONTENT = os.urandom(20_000_000)
PAGE = "<title>irosh</title><body onload=\"fetch('more.txt').then(r=>r.text()).then(t=>document.body.append(t))\">Page,"


@contextmanager
def web_server(directory: Path) -> Iterator[int]:
    """Python's web server on 127.0.0.1 with a large file and a page that fetches a second one."""
    (directory / "file.bin").write_bytes(CONTENT)
    (directory / "page.html").write_text(PAGE)
    (directory / "more.txt").write_text(" and more")
    port = unused_port()
    server = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(directory), str(port))
    with LOCAL.running(*server, ready=lambda: listens(port)):
        yield port


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a web server on the host."""
    with web_server(tmp_path_factory.mktemp("web")) as port:
        yield port


@pytest.fixture(scope="module")
def dynamic(loopback_pair: Pair) -> Iterator[Forwards]:
    """``-D``, and the same the other way round as the second forward."""
    with forwarding(loopback_pair.client, PEER, "-D", "127.0.0.1:0", "-R", "127.0.0.1:0") as forwards:
        yield forwards


@requires("curl")
@shows("curl", "20 MB by SOCKS 4, 4a, 5 and 5 with names looked up there", through="`irosh connect -D`, `-R`")
@shows("curl", "20 MB by a port", through="`irosh connect -L`, `-R`")
class TestCurl:
    """curl speaks all dialects of SOCKS."""

    def fetch(self, url: str, *options: str) -> bytes:
        """What is there."""
        return LOCAL.run("curl", "--silent", "--show-error", "--fail", *options, url).stdout

    @pytest.mark.parametrize("dialect", ["--socks5-hostname", "--socks5", "--socks4a", "--socks4"])
    @pytest.mark.parametrize("which", [0, 1], ids=["here", "there"])
    def test_socks(self, dynamic: Forwards, web: int, dialect: str, which: int) -> None:
        # The address of the remote one comes behind that of -D: R is asked for first.
        host, port = dynamic.address(1 - which)
        name = "localhost" if dialect.endswith(("hostname", "4a")) else "127.0.0.1"
        fetched = self.fetch(f"http://{name}:{web}/file.bin", dialect, f"{host}:{port}")
        assert hashlib.sha256(fetched).digest() == hashlib.sha256(CONTENT).digest()

    @pytest.mark.parametrize("flag", ["-L", "-R"])
    def test_a_forward(self, loopback_pair: Pair, web: int, flag: str) -> None:
        with forwarding(loopback_pair.client, PEER, flag, f"127.0.0.1:0:localhost:{web}") as forwards:
            host, port = forwards.address()
            fetched = self.fetch(f"http://{host}:{port}/file.bin")
        assert hashlib.sha256(fetched).digest() == hashlib.sha256(CONTENT).digest()

    def test_what_is_not_allowed(self, dynamic: Forwards) -> None:
        host, port = dynamic.address(1)
        done = LOCAL.run(
            "curl", "--silent", "--show-error", "--socks5-hostname", f"{host}:{port}", "http://192.0.2.1/", check=False
        )
        assert done.returncode == 97
        assert b"(2)" in done.stderr  # the reply of RFC 1928, section 6


@pytest.mark.skipif(find_program("chromium") is None, reason="needs chromium: see tests/packages.sh")
@shows("chromium", "a page that fetches another", through="`irosh connect -D`")
def test_a_browser(dynamic: Forwards, web: int, tmp_path: Path) -> None:
    host, port = dynamic.address(1)
    options = (
        "--headless",
        "--no-sandbox",  # it refuses to run as root with one
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        f"--user-data-dir={tmp_path}",
        f"--proxy-server=socks5://{host}:{port}",
        "--proxy-bypass-list=<-loopback>",  # loopback by the proxy too
        "--virtual-time-budget=5000",
        "--dump-dom",
    )
    done = LOCAL.run("chromium", *options, f"http://localhost:{web}/page.html", timeout=120, check=False)
    assert b"Page, and more" in done.stdout, done.stderr[-2000:]


@requires("nc")
@shows("nc", "`-X 5`, `-X 4`", through="`irosh connect -D`")
@pytest.mark.parametrize("version", ["5", "4"])
def test_nc(dynamic: Forwards, version: str) -> None:
    host, port = dynamic.address(1)
    with tcp_server(echo) as target:
        options = ("-N", "-X", version, "-x", f"{host}:{port}")
        done = LOCAL.run("nc", *options, "127.0.0.1", str(target), stdin=b"by nc", check=False)
    if b"Proxy" in done.stderr or b"usage" in done.stderr:
        pytest.skip("this nc knows no SOCKS")
    assert done.stdout == b"by nc", done.stderr


@requires("iperf3")
@shows("iperf3", "100 MB each way", through="`irosh connect -L`, `-R`")
@pytest.mark.parametrize("flag", ["-L", "-R"])
@pytest.mark.parametrize("direction", [(), ("-R",)], ids=["up", "down"])
def test_iperf3(loopback_pair: Pair, flag: str, direction: tuple[str, ...]) -> None:
    there = unused_port()
    with (
        LOCAL.running("iperf3", "-s", "-B", "127.0.0.1", "-p", str(there), ready=lambda: listens(there)),
        forwarding(loopback_pair.client, PEER, flag, f"127.0.0.1:0:127.0.0.1:{there}") as forwards,
    ):
        end = iperf3(forwards.address()[1], "-n", "100M", *direction)
    assert end["sum_received"]["bytes"] >= 50 * 1024 * 1024


# -- UDP ASSOCIATE


def question(name: str) -> bytes:
    """A DNS question for an A record (RFC 1035, 4.1)."""
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return struct.pack(">HHHHHH", 4711, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)


class TestUdpAssociate:
    """SOCKS 5's UDP, by ``-D``."""

    def test_dns_at_two_servers(self, dynamic: Forwards) -> None:
        with (
            udp_server(dns_responder("192.0.2.53")) as one,
            udp_server(dns_responder("192.0.2.54")) as other,
            Association(dynamic.address(1)) as association,
        ):
            for _ in range(3):
                assert association.ask("127.0.0.1", one, question("box.example"))[-4:] == socket.inet_aton("192.0.2.53")
                assert association.ask("localhost", other, question("a.b"))[-4:] == socket.inet_aton("192.0.2.54")

    @pytest.mark.parametrize("size", [0, 1, 1200, 1400, 9000, 60_000])
    def test_sizes(self, dynamic: Forwards, size: int) -> None:
        payload = os.urandom(size)
        with (
            udp_server(lambda packet, _: packet[::-1]) as port,
            Association(dynamic.address(1)) as association,
        ):
            assert association.ask("127.0.0.1", port, payload) == payload[::-1]

    def test_others_are_not_served(self, dynamic: Forwards) -> None:
        seen: list[bytes] = []
        with (
            udp_server(lambda packet, _: seen.append(packet)) as port,
            udp_server(lambda packet, _: packet) as echoing,
            Association(dynamic.address(1)) as association,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
        ):
            association.ask("127.0.0.1", echoing, b"first")
            stranger.sendto(pack_datagram("127.0.0.1", port, b"from a stranger"), association.relay)
            association.socket.sendto(b"no header", association.relay)
            association.ask("127.0.0.1", echoing, b"last")
            assert seen == []

    def test_it_ends_with_its_connection(self, dynamic: Forwards) -> None:
        with udp_server(lambda packet, _: packet) as port:
            with Association(dynamic.address(1)) as association:
                association.ask("127.0.0.1", port, b"alive")
                relay = association.relay
            wait_until(lambda: not bound_by_udp(relay[1]), what="the port of the association is free")

    def test_what_is_not_allowed_is_told(self, dynamic: Forwards) -> None:
        with Association(dynamic.address(1)) as association:
            association.socket.sendto(pack_datagram("192.0.2.1", 53, b"x"), association.relay)
            event = dynamic.process.wait_event("refused", source="udp://192.0.2.1:53")
            assert event["error"]["code"] == "denied"

    def test_a_remote_forward_serves_none(self, dynamic: Forwards) -> None:
        with socket.create_connection(dynamic.address(0), TIMEOUT) as control:
            control.sendall(b"\x05\x01\x00" + b"\x05\x03\x00\x01" + bytes(6))
            assert control.makefile("rb").read() == b"\x05\x00" + b"\x05\x07\x00\x01" + bytes(6)


def bound_by_udp(port: int) -> bool:
    """Whether a UDP socket of this machine is bound to ``port``; see proc_net_udp(5)."""
    lines = Path("/proc/net/udp").read_text().splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") for line in lines)
