"""Networks behind a host, and the whole internet, through it: for every program, and undone however it ends."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass
from difflib import ndiff
from pathlib import Path

import pytest

from irosh.services.vpn.routing import MARK
from tests.lab.host import Host
from tests.lab.irosh_process import IroshProcess
from tests.lab.link import Link
from tests.lab.machine import Machine
from tests.lab.mounts import own_mounts
from tests.lab.network import Network
from tests.lab.pair import PEER, Pair, pinned_pair
from tests.lab.processes import process_tree, wait_until
from tests.lab.requirements import requires, requires_netns

pytestmark = [
    pytest.mark.netns,
    requires_netns(),
    requires("ping", "curl", "dig", "setpriv"),
    pytest.mark.skipif(not Path("/dev/net/tun").exists(), reason="needs /dev/net/tun"),
]

INNER, INNER6 = "10.9.0.0/24", "fd00:9::/64"
SERVER, SERVER6 = "10.9.0.2", "fd00:9::2"
NAME = "server.inner.example"

# A client that was killed is missed soon.
IMPATIENT = '[session]\nkeepalive = "1s"\ndead_after = "3s"'
# So soon that it is forgotten before it is back.
FORGETFUL = '[session]\nkeepalive = "1s"\ndead_after = "2s"\n[vpn]\nkeep = "2s"'

# Answers every question for an address with the server's own.
NAME_SERVER = f"""
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("{SERVER}", 53))
while True:
    question, client = sock.recvfrom(4096)
    end = question.index(b"\\0", 12) + 5
    header = question[:2] + b"\\x81\\x80\\0\\1\\0\\1\\0\\0\\0\\0"
    answer = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4" + socket.inet_aton("{SERVER}")
    sock.sendto(header + question[12:end] + answer, client)
"""

# Says on a TCP connection what it hears, and how often it was connected to.
ECHO_SERVER = f"""
import socket, threading
listener = socket.create_server(("{SERVER}", 7))
def echo(sock):
    while data := sock.recv(65536):
        sock.sendall(data)
while True:
    threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()
"""

# Sends a number each 50 ms and prints it once it has come back.
ECHO_CLIENT = f"""
import socket, time
sock = socket.create_connection(("{SERVER}", 7))
sock.settimeout(120)
lines = sock.makefile("r")
number = 0
while True:
    sock.sendall(b"%d\\n" % number)
    assert int(lines.readline()) == number
    print(number, flush=True)
    number += 1
    time.sleep(0.05)
"""


# Asks a name server as a node does whose packets are kept out of the tunnel.
MARKED_QUESTION = f"""
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, {MARK})
sock.settimeout(1)
sock.sendto(b"?", (sys.argv[1], 53))
try:
    print(sock.recv(100).decode())
except OSError as error:
    print(error)
"""

OUTER_NAME_SERVER = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("10.2.0.1", 53))
while True:
    sock.sendto(b"from outside", sock.recvfrom(100)[1])
"""


@dataclass(frozen=True)
class Place:
    """A client, a host and, on a network that only the host has a way to, a server."""

    pair: Pair
    client: Host
    host: Host
    server: Host
    client_link: Link
    router: Host

    @contextmanager
    def vpn(self, *options: str) -> Iterator[IroshProcess]:
        """``irosh vpn`` for the length of the block, which begins when it is ready."""
        with self.pair.client.start("vpn", PEER, *options) as process:
            process.wait_event("ready")
            yield process

    def allow(self, *capabilities: str) -> None:
        """The client may use exactly these."""
        (peer,) = self.pair.host.call("peer", "list")["peers"]
        self.pair.host.call("peer", "allow", peer["petname"], *capabilities, "--replace")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("vpn")
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        client, host, server, router = (
            *(network.host(name) for name in ("client", "host", "server")),
            network.router("router"),
        )
        link = network.link(client, router, "10.2.0.0/24", "fd00:2::/64")
        network.link(host, router, "10.1.0.0/24", "fd00:1::/64")
        network.lan(INNER, host, server, subnet6=INNER6)
        for machine, name_server in ((client, "10.2.0.1"), (host, SERVER)):
            resolv_conf = directory / f"resolv-{machine.name}.conf"
            resolv_conf.write_text(f"nameserver {name_server}\n")
            stack.enter_context(own_mounts(machine, resolv_conf))
        web = directory / "web"
        web.mkdir()
        (web / "index.html").write_text("hello from within\n")
        for program in (
            (sys.executable, "-c", NAME_SERVER),
            (sys.executable, "-c", ECHO_SERVER),
            (sys.executable, "-m", "http.server", "--bind", "::", "--directory", str(web), "80"),
        ):
            stack.enter_context(server.running(*program, ready=lambda: True))
        wait_until(
            lambda: host.run("curl", "-s", f"http://{SERVER}/", check=False).returncode == 0, what="the server serves"
        )
        pair = stack.enter_context(
            pinned_pair(directory, "--no-relay", host_machine=host, client_machine=client, config=IMPATIENT)
        )
        yield Place(pair, client, host, server, link, router)


def state(machine: Host) -> dict[str, str]:
    """What a VPN changes of a machine's network."""
    commands = {
        "interfaces": "ip -brief link",
        "addresses": "ip -brief address",
        "routes": "ip -4 route show table all",
        "routes6": "ip -6 route show table all",
        "rules": "ip -4 rule",
        "rules6": "ip -6 rule",
        "filters": "nft list ruleset",
        "names": "cat /etc/resolv.conf",
        "mounts": "grep resolv /proc/self/mountinfo",
        "settings": "sysctl -a --pattern net.ipv[46].*(forward|rp_filter|accept_ra$)",
    }
    return {what: machine.run(*words.split(), check=False).stdout.decode() for what, words in commands.items()}


@contextmanager
def unchanged(*machines: Host) -> Iterator[None]:
    """After the block everything is exactly as before, within a few seconds."""
    before = [state(machine) for machine in machines]
    yield
    deadline = time.monotonic() + 15
    while (changed := _changes(before, machines)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not changed


def _changes(before: Sequence[dict[str, str]], machines: Sequence[Host]) -> dict[str, list[str]]:
    """What is not as before: the lines that are there only before (-) or only now (+)."""
    changes = {}
    for machine, old in zip(machines, before, strict=True):
        for what, now in state(machine).items():
            if now != old[what]:
                lines = ndiff(old[what].splitlines(), now.splitlines())
                changes[f"{machine.name}: {what}"] = [line for line in lines if line[0] in "+-"]
    return changes


def reached(machine: Host, address: str = SERVER) -> bool:
    host = f"[{address}]" if ":" in address else address
    done = machine.run("curl", "-sS", "-m", "5", f"http://{host}/", check=False)
    return done.stdout == b"hello from within\n"


def ping(machine: Host, address: str) -> bool:
    return machine.run("ping", "-c", "1", "-W", "3", address, check=False).returncode == 0


def ask(machine: Host, *options: str) -> str:
    """What the name server says, if any does. A packet may get lost while the machine is busy."""
    return machine.run("dig", "+short", "+time=3", "+tries=4", *options, NAME, check=False).stdout.decode().strip()


def test_without_the_capability_it_is_denied(place: Place) -> None:
    place.allow("exec")
    with unchanged(place.client, place.host):
        error = place.pair.client.failure("vpn", PEER, "--route", INNER)
        assert error["code"] == "denied"


def test_subnets_and_nothing_else(place: Place) -> None:
    place.allow("exec", f"vpn:{INNER}", f"vpn:{INNER6}")
    with unchanged(place.client, place.host):
        assert not ping(place.client, SERVER)
        with place.vpn("--route", INNER, "--route", INNER6):
            for address in (SERVER, SERVER6):
                assert ping(place.client, address)
                assert reached(place.client, address)
            assert ask(place.client, f"@{SERVER}") == SERVER
            assert ask(place.client) != SERVER, "the name servers are as before"
            assert ping(place.client, "10.1.0.2"), "the rest goes where it went"
            routes = place.client.run("ip", "route", "get", "10.1.0.2").stdout.decode()
            assert "dev eth0" in routes


def test_what_the_policy_does_not_permit_is_not_reached(place: Place) -> None:
    place.allow("exec", f"vpn:{INNER6}")
    with (
        unchanged(place.client, place.host),
        place.vpn("--route", INNER, "--route", INNER6, "--route", "169.254.0.0/16"),
    ):
        assert reached(place.client, SERVER6)
        assert not ping(place.client, SERVER)
        assert not ping(place.client, "169.254.169.254")
        entries = place.pair.host.call("audit", "--limit", "50")["entries"]
        refused = [entry["detail"] for entry in entries if entry["outcome"] == "refused"]
        assert any(f"vpn:{SERVER}" in each for each in refused)
        place.allow("exec", f"vpn:{INNER}", f"vpn:{INNER6}")
        wait_until(lambda: ping(place.client, SERVER), what="what is allowed later is reached")


def test_everything_and_names(place: Place) -> None:
    place.allow("exec", "vpn:*")
    with unchanged(place.client, place.host):
        with place.vpn("--all"):
            routes = place.client.run("ip", "route", "get", "198.51.100.1").stdout.decode()
            assert "dev irosh0" in routes
            assert ask(place.client) == SERVER
            done = place.client.run("curl", "-sS", "-m", "5", f"http://{NAME}/", check=False)
            assert done.stdout == b"hello from within\n", done.stderr
            assert reached(place.client, SERVER6)
            assert ping(place.client, "10.2.0.1"), "one's own network stays where it is"
        assert ask(place.client) != SERVER


def test_other_name_servers(place: Place) -> None:
    place.allow("exec", f"vpn:{INNER}")
    with unchanged(place.client, place.host), place.vpn("--route", INNER, "--dns", SERVER):
        assert ask(place.client) == SERVER


@pytest.mark.parametrize("options", [("--route", INNER), ("--all",)], ids=["route", "all"])
def test_the_client_is_killed(place: Place, options: Sequence[str]) -> None:
    place.allow("exec", "vpn:*")
    with unchanged(place.client, place.host):
        with place.vpn(*options) as process:
            assert reached(place.client)
            guards = process_tree(process.pid) - {each for each in process_tree(process.pid) if each.pid == process.pid}
            process.kill()
            wait_until(lambda: not any(each.alive for each in guards), what="the guard has ended")
        assert not ping(place.client, SERVER)
        # What the killed node left on the host ends at once when the client comes again.
        place.pair.client.run("connect", PEER, "true")


def test_either_side_is_away_for_long(place: Place, tmp_path: Path) -> None:
    """The host forgets the client, and is killed; the client has its addresses again each time. Then it is killed."""
    with ExitStack() as stack:
        before = state(place.host)
        stack.enter_context(unchanged(place.client))
        bind = f"--bind={place.host.address}:4242"
        second = stack.enter_context(
            pinned_pair(
                tmp_path, "--no-relay", bind, host_machine=place.host, client_machine=place.client, config=FORGETFUL
            )
        )
        (peer,) = second.host.call("peer", "list")["peers"]
        second.host.call("peer", "allow", peer["petname"], f"vpn:{INNER}")
        with second.client.start("vpn", PEER, "--route", INNER) as process:
            first = process.wait_event("ready")
            assert reached(place.client)
            place.client_link.down()
            wait_until(lambda: state(place.host) == before, what="the host is as before")
            place.client_link.up()
            process.wait_event("restored")
            assert reached(place.client)
            second.host_process.kill()
            wait_until(lambda: state(place.host) == before, what="the host is as before")
            with second.host.host("--no-relay", bind):
                process.wait_event("restored", timeout=90)
                assert reached(place.client)
                again = place.client.run("ip", "-brief", "address", "show", str(first["device"])).stdout.decode()
                assert first["addresses"][0] in again
                process.kill()
                wait_until(lambda: state(place.host) == before, what="the host is as before, without the client")


def test_an_address_changes_and_the_link_goes_and_comes(place: Place) -> None:
    place.allow("exec", "vpn:*")
    with unchanged(place.host), place.vpn("--all") as process:
        echo = place.client.popen(sys.executable, "-uc", ECHO_CLIENT, stdout=-1)
        try:
            assert echo.stdout is not None
            assert echo.stdout.readline() == b"0\n"
            place.client_link.change_address("10.2.0.77")
            _hear(echo.stdout, 40)
            assert echo.poll() is None, "the connection through the tunnel lives"
            place.client_link.down()
            process.wait_event("lost")
            place.client_link.up()
            process.wait_event("resumed")
            _hear(echo.stdout, 40)
            assert echo.poll() is None
        finally:
            echo.kill()
            echo.wait()
            if echo.stdout is not None:
                echo.stdout.close()
            place.client_link.change_address("10.2.0.2")
        assert wait_until(lambda: reached(place.client), what="packets go again")


def _hear(lines: object, count: int) -> None:
    for _ in range(count):
        assert lines.readline()  # type: ignore[attr-defined]


def test_connections_from_outside_stay_where_they_are(place: Place) -> None:
    place.allow("exec", "vpn:*")
    with place.client.running(sys.executable, "-m", "http.server", "--bind", "10.2.0.2", "8080", ready=lambda: True):
        wait_until(lambda: _serves_outside(place.host), what="the client serves")
        with place.vpn("--all"):
            assert _serves_outside(place.host), "answers leave as the questions came"


def _serves_outside(machine: Host) -> bool:
    return (
        machine.run("curl", "-sf", "-m", "3", "-o", "/dev/null", "http://10.2.0.2:8080/", check=False).returncode == 0
    )


def test_the_peer_reaches_nothing_on_the_client(place: Place) -> None:
    place.allow("exec", "vpn:*")
    with (
        place.client.running(sys.executable, "-m", "http.server", "8081", ready=lambda: True),
        place.vpn("--all") as process,
    ):
        address = process.events[-1]["addresses"][0]
        wait_until(
            lambda: (
                place.client.run("curl", "-sf", "-o", "/dev/null", "http://127.0.0.1:8081/", check=False).returncode
                == 0
            ),
            what="the client serves",
        )
        done = place.host.run("curl", "-s", "-m", "2", f"http://{address}:8081/", check=False)
        assert done.returncode == 28, "no answer"


def test_a_node_that_runs_already_carries_it(place: Place) -> None:
    """One without any rights; and when the command is killed, the node goes on, and nothing else is left."""
    place.allow("exec", "vpn:*")
    weak = copy(place.pair.client)
    weak.machine = Machine("weak", prefix=(*place.client.prefix, "setpriv", "--bounding-set=-all", "--inh-caps=-all"))
    with weak.start("connect", PEER, "cat", stdin=-1) as node:
        node.wait_event("connected")
        with unchanged(place.client, place.host), place.vpn("--all") as process:
            for address in (SERVER, SERVER6):
                assert reached(place.client, address)
            assert ask(place.client) == SERVER
            assert place.pair.client.run("connect", PEER, "echo shared").stdout == b"shared\n"
            # Questions of the node itself go to the machine's own name server.
            with place.router.running(sys.executable, "-c", OUTER_NAME_SERVER, ready=lambda: True):
                question = (sys.executable, "-c", MARKED_QUESTION, process.events[-1]["dns"][0])
                wait_until(lambda: place.client.run(*question).stdout == b"from outside\n", what="it is asked")
            process.kill()
        assert place.pair.client.run("connect", PEER, "echo again").stdout == b"again\n"
        assert node.process.poll() is None
        # Its own packets stay out of the tunnel, which leads to the very network of the host.
        around = ("--route", "10.1.0.0/24", "--route", "fd00:1::/64")
        with unchanged(place.host), place.vpn("--route", INNER, *around):
            assert b"irosh0" in place.client.run("ip", "route", "get", "10.1.0.2").stdout
            try:
                for address in ("10.2.0.77", "fd00:2::77"):
                    place.client_link.change_address(address)
                wait_until(lambda: reached(place.client), what="packets go by the new address", timeout=20)
            finally:
                place.client_link.change_address("10.2.0.2")
                place.client_link.change_address("fd00:2::2")
        with unchanged(place.client, place.host):
            with place.vpn("--all") as process:
                node.kill()
                assert process.wait_failure()["code"] == "connection-lost"
            place.pair.client.run("connect", PEER, "true")


def test_another_command_shares_the_session_of_a_vpn(place: Place) -> None:
    place.allow("exec", "vpn:*")
    with unchanged(place.client, place.host), place.vpn("--all"):
        assert place.pair.client.run("connect", PEER, "echo shared").stdout == b"shared\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_other_signals_end_it_orderly(place: Place, number: signal.Signals) -> None:
    place.allow("exec", "vpn:*")
    with unchanged(place.client, place.host), place.vpn("--all") as process:
        process.stop(number)
