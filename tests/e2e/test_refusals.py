"""What is refused: each with its stable code, and without harm to anybody else."""

from __future__ import annotations

import dataclasses
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from irosh.core.ticket import parse_ticket
from tests.lab.irosh_process import Irosh
from tests.lab.machine import LOCAL
from tests.lab.pair import PEER, Pair, pin, pinned_pair
from tests.lab.processes import wait_until
from tests.lab.servers import TIMEOUT, echo, tcp_server

OTHER_NET = "forward:tcp://10.0.0.0/8:*"


@pytest.fixture
def stranger(tmp_path: Path) -> Irosh:
    """Somebody whom the host does not know yet."""
    return Irosh(LOCAL, tmp_path / "stranger")


@pytest.fixture(scope="module")
def restricted(loopback_pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Irosh:
    """A client that may reach a network which is not here, and nothing else."""
    return loopback_pair.add_client(tmp_path_factory.mktemp("restricted") / "state", allow=[OTHER_NET])


def own_id(irosh: Irosh) -> str:
    """The endpoint id of a state directory."""
    return str(irosh.call("identity", "show")["id"])


class TestPolicy:
    """Sources that the host's policy does not grant."""

    @pytest.mark.parametrize(
        "source",
        [
            "tcp://127.0.0.1:22",
            "tcp://localhost:22",
            "tcp://[::1]:22",
            "tcp://[::ffff:127.0.0.1]:22",
            "tcp://[::ffff:7f00:1]:22",
            "tcp://0.0.0.0:22",
            "udp://10.0.0.1:53",
            "unix:///run/any.sock",
        ],
    )
    def test_outside_the_capability(self, loopback_pair: Pair, restricted: Irosh, source: str) -> None:
        listen = f"unix://{restricted.state}/never.sock" if source.startswith("unix:") else "127.0.0.1:0"
        error = restricted.failure("tunnel", "open", PEER, f"--map={source}={listen}")
        assert error["code"] == "denied"
        entries = loopback_pair.host.call("audit", "--peer", own_id(restricted))["entries"]
        assert any(entry["outcome"] == "refused" and "forward:" in entry["detail"] for entry in entries)

    def test_another_network_by_every_spelling(self, loopback_pair: Pair) -> None:
        for source in ("tcp://192.0.2.1:80", "tcp://[::ffff:192.0.2.1]:80", "tcp://[2001:db8::1]:80"):
            error = loopback_pair.client.failure("tunnel", "open", PEER, f"--map={source}=127.0.0.1:0")
            assert error["code"] == "denied", source

    def test_a_mapped_address_is_the_address_it_is(self, loopback_pair: Pair) -> None:
        with (
            tcp_server(echo) as port,
            loopback_pair.client.tunnel(PEER, f"tcp://[::ffff:127.0.0.1]:{port}=127.0.0.1:0") as tunnel,
            socket.create_connection(tunnel.address(), TIMEOUT) as connection,
        ):
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"

    def test_one_refused_map_opens_none(self, loopback_pair: Pair) -> None:
        with tcp_server(echo) as port:
            maps = [f"--map=tcp://127.0.0.1:{port}=127.0.0.1:0", "--map=tcp://192.0.2.1:80=127.0.0.1:0"]
            assert loopback_pair.client.failure("tunnel", "open", PEER, *maps)["code"] == "denied"

    def test_shell_and_exec(self, restricted: Irosh) -> None:
        assert restricted.failure("connect", PEER, "true")["code"] == "denied"
        assert restricted.failure("connect", "-t", PEER)["code"] == "denied"

    def test_another_user(self, loopback_pair: Pair) -> None:
        assert loopback_pair.client.failure("connect", f"nobody@{PEER}", "id")["code"] == "denied"


class TestTargets:
    """What the policy allows, but is not there; and where nothing can listen."""

    def test_a_source_that_is_down_is_said_on_the_listening_side(self, loopback_pair: Pair) -> None:
        with tcp_server(echo) as port:
            pass
        with loopback_pair.client.tunnel(PEER, f"tcp://127.0.0.1:{port}=127.0.0.1:0") as tunnel:
            for _ in range(2):
                # The reset may be there before connect() has returned.
                with suppress(ConnectionResetError), socket.create_connection(tunnel.address(), TIMEOUT) as connection:
                    assert _ended(connection)
                refused = tunnel.process.wait_event("refused")
                assert refused["error"]["code"] == "target-refused"
                assert refused["source"] == f"tcp://127.0.0.1:{port}"

    @pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
    def test_a_listen_port_that_is_taken(self, loopback_pair: Pair, kind: socket.SocketKind) -> None:
        scheme = "tcp" if kind is socket.SOCK_STREAM else "udp"
        with socket.socket(socket.AF_INET, kind) as taken:
            taken.bind(("127.0.0.1", 0))
            if kind is socket.SOCK_STREAM:
                taken.listen()
            listen = f"127.0.0.1:{taken.getsockname()[1]}"
            error = loopback_pair.client.failure("tunnel", "open", PEER, f"--map={scheme}://127.0.0.1:9={listen}")
        assert error["code"] == "port-taken"
        assert listen in error["message"]

    def test_a_unix_socket_that_is_taken(self, loopback_pair: Pair, tmp_path: Path) -> None:
        path = tmp_path / "taken.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as taken:
            taken.bind(str(path))
            taken.listen()
            error = loopback_pair.client.failure("tunnel", "open", PEER, f"--map=tcp://127.0.0.1:9=unix://{path}")
        assert error["code"] == "port-taken"
        assert path.exists()

    def test_a_file_in_the_place_of_a_unix_socket_is_left_alone(self, loopback_pair: Pair, tmp_path: Path) -> None:
        path = tmp_path / "precious"
        path.write_text("data")
        loopback_pair.client.failure("tunnel", "open", PEER, f"--map=tcp://127.0.0.1:9=unix://{path}")
        assert path.read_text() == "data"


class TestInvites:
    """Tickets that do not let anybody in."""

    def test_a_used_one(self, loopback_pair: Pair, stranger: Irosh, tmp_path: Path) -> None:
        ticket = loopback_pair.host.call("invite")["ticket"]
        pin(Irosh(LOCAL, tmp_path / "first"), ticket, PEER)
        assert stranger.failure("connect", ticket, "true")["code"] == "invite-used"

    def test_one_with_two_uses_lets_two_in(self, loopback_pair: Pair, stranger: Irosh, tmp_path: Path) -> None:
        ticket = loopback_pair.host.call("invite", "--uses", "2")["ticket"]
        for name in ("first", "second"):
            pin(Irosh(LOCAL, tmp_path / name), ticket, PEER)
        assert stranger.failure("connect", ticket, "true")["code"] == "invite-used"

    def test_an_expired_one(self, loopback_pair: Pair, stranger: Irosh) -> None:
        invite = loopback_pair.host.call("invite", "--expires", "1s")
        wait_until(lambda: time.time() > invite["expires_at"], what="the invite has expired")
        assert stranger.failure("connect", invite["ticket"], "true")["code"] == "invite-expired"

    def test_one_of_another_host(self, loopback_pair: Pair, stranger: Irosh, tmp_path: Path) -> None:
        own = parse_ticket(loopback_pair.host.call("invite")["ticket"])
        with Irosh(LOCAL, tmp_path / "other").host() as other:
            foreign = parse_ticket(other.events[0]["ticket"])
        mixed = dataclasses.replace(own, invite=foreign.invite)
        assert stranger.failure("connect", mixed.encode(), "true")["code"] == "invite-invalid"

    def test_none_at_all(self, loopback_pair: Pair, stranger: Irosh) -> None:
        ticket = parse_ticket(loopback_pair.host.call("invite")["ticket"])
        bare = dataclasses.replace(ticket, invite=None)
        assert stranger.failure("connect", bare.encode(), "true")["code"] == "unknown-peer"

    def test_a_damaged_one(self, loopback_pair: Pair, stranger: Irosh) -> None:
        ticket = loopback_pair.host.call("invite")["ticket"]
        swapped = "b" if ticket[40] != "b" else "c"
        for damaged in (ticket[:-5], ticket[:40] + swapped + ticket[41:], ticket[:60]):
            assert stranger.failure("connect", damaged, "true")["code"] == "invalid-ticket"

    def test_refusals_are_audited(self, loopback_pair: Pair, stranger: Irosh) -> None:
        ticket = parse_ticket(loopback_pair.host.call("invite")["ticket"])
        stranger.failure("connect", dataclasses.replace(ticket, invite=None).encode(), "true")
        entries = loopback_pair.host.call("audit", "--limit", "10")["entries"]
        assert any(entry["outcome"] == "refused" and entry["peer"] == own_id(stranger) for entry in entries)


class TestStanding:
    """Peers that lose their access, or whose host is not the one they knew."""

    @pytest.fixture
    def guest(self, loopback_pair: Pair, tmp_path: Path) -> Irosh:
        """A client that is nobody else's."""
        return loopback_pair.add_client(tmp_path / "guest")

    def test_revoking_ends_the_session_and_keeps_the_peer_out(self, loopback_pair: Pair, guest: Irosh) -> None:
        with guest.start("connect", PEER, "cat", stdin=subprocess.PIPE) as session:
            session.wait_event("connected")
            answer = loopback_pair.host.call("peer", "revoke", own_id(guest))
            assert answer["connections_closed"] == 1
            assert session.wait_failure()["code"] == "revoked"
        assert guest.failure("connect", PEER, "true")["code"] == "revoked"
        assert loopback_pair.client.run("connect", PEER, "echo others go on").stdout == b"others go on\n"

    def test_a_revoked_peer_that_is_allowed_again_comes_back(self, loopback_pair: Pair, guest: Irosh) -> None:
        loopback_pair.host.call("peer", "revoke", own_id(guest))
        loopback_pair.host.call("peer", "allow", own_id(guest), "exec")
        assert guest.run("connect", PEER, "echo back").stdout == b"back\n"
        assert guest.failure("connect", "-t", PEER)["code"] == "denied"

    def test_a_blocked_peer(self, loopback_pair: Pair, guest: Irosh) -> None:
        loopback_pair.host.call("peer", "block", own_id(guest))
        assert guest.failure("connect", PEER, "true")["code"] == "blocked"

    def test_a_tunnel_of_a_revoked_peer_ends(self, loopback_pair: Pair, guest: Irosh) -> None:
        with tcp_server(echo) as port, guest.tunnel(PEER, f"tcp://127.0.0.1:{port}=127.0.0.1:0") as tunnel:
            with socket.create_connection(tunnel.address(), TIMEOUT) as connection:
                connection.sendall(b"x")
                assert connection.recv(1) == b"x"
                loopback_pair.host.call("peer", "revoke", own_id(guest))
                assert _ended(connection)
            assert tunnel.process.wait_failure()["code"] == "revoked"

    def test_a_host_with_another_identity(self, tmp_path: Path) -> None:
        with pinned_pair(tmp_path) as pair:
            address = pair.host_process.events[0]["addresses"][0]
            pair.host_process.stop()
            impostor = Irosh(LOCAL, tmp_path / "impostor")
            with impostor.host("--bind", address):
                assert pair.client.failure("connect", PEER, "true")["code"] == "identity-mismatch"


class TestStateDirectory:
    """One node for each."""

    def test_in_use(self, loopback_pair: Pair) -> None:
        assert loopback_pair.host.failure("host")["code"] == "state-in-use"

    def test_open_to_others(self, tmp_path: Path) -> None:
        irosh = Irosh(LOCAL, tmp_path / "state")
        irosh.state.chmod(0o777)
        assert irosh.failure("host")["code"] == "state-unusable"

    def test_a_key_that_others_can_read(self, tmp_path: Path) -> None:
        irosh = Irosh(LOCAL, tmp_path / "state")
        irosh.call("identity", "show")
        (irosh.state / "identity.key").chmod(0o644)
        assert irosh.failure("host")["code"] == "key-unsafe"

    def test_a_host_whose_address_is_taken(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            listen = f"127.0.0.1:{taken.getsockname()[1]}"
            assert Irosh(LOCAL, tmp_path / "state").failure("host", "--bind", listen)["code"] == "port-taken"


@pytest.fixture(autouse=True, scope="module")
def _the_host_serves_on(loopback_pair: Pair) -> Iterator[None]:
    """After all that, the host serves its client as before."""
    yield
    assert loopback_pair.client.run("connect", PEER, "echo still here").stdout == b"still here\n"


def _ended(connection: socket.socket) -> bool:
    """Whether the other side has ended the connection, orderly or not, without a byte."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
