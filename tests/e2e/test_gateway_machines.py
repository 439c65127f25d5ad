"""Machines with an ordinary SSH server, behind a gateway: a client finds them among its peers and uses them as such."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from irosh.core.identity import Identity
from tests.e2e.chain import identity
from tests.lab.forwards import exchange, forwarding
from tests.lab.irosh_process import Irosh, IroshProcess
from tests.lab.machine import LOCAL
from tests.lab.pair import pin
from tests.lab.requirements import requires
from tests.lab.servers import echo, tcp_server, unused_port
from tests.lab.sshd import Sshd, new_key, sshd

pytestmark = requires("ssh", "sshd", "ssh-keygen", "scp")

NAMES = ("printer", "client", "github.com")


@dataclass(frozen=True)
class Lab:
    """A gateway ``gw``, which shows one sshd as NAMES, and a client of it."""

    gateway: Irosh
    process: IroshProcess
    client: Irosh
    server: Sshd
    machines: Path
    home: Path

    def shown(self) -> dict[str, dict[str, Any]]:
        """What the client lists, by the name that means it."""
        return {machine["target"]: machine for machine in self.client.call("peer", "list")["machines"]}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("lab")
    home = directory / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    key = new_key(home / ".ssh" / "id_ed25519")
    known_hosts = f"{home}/.ssh/known_hosts"
    (home / ".ssh" / "config").write_text(
        f"UserKnownHostsFile {known_hosts}\nGlobalKnownHostsFile none\nIdentityFile {key}\nIdentitiesOnly yes\n"
    )
    machines = directory / "machines"
    with ExitStack() as stack:
        server = stack.enter_context(sshd(directory / "sshd", LOCAL, unused_port()))
        server.authorize(key.with_suffix(".pub").read_text())
        Path(known_hosts).write_text(server.known_hosts_line)
        machines.write_text("".join(f"{name} ssh://root@{server.address}:{server.port}\n" for name in NAMES))
        gateway = Irosh(LOCAL, directory / "gw")
        client = Irosh(LOCAL, directory / "client", environment={"HOME": str(home)})
        process = stack.enter_context(gateway.start("host"))
        pin(client, str(process.wait_event("ready")["ticket"]), "gw")
        gateway.call("peer", "rename", identity(client), "client")
        gateway.call("peer", "allow", "client", "--replace", "gateway:ssh://127.0.0.0/8:*")
        client.call("peer", "add", Identity.generate().id, "--name", "client")
        yield Lab(gateway, process, client, server, machines, home)


@pytest.fixture(scope="module")
def served(lab: Lab) -> Iterator[Lab]:
    with lab.gateway.start("gateway", "serve", "--list", str(lab.machines)) as serving:
        serving.wait_event("serving")
        lab.client.call("gateway", "list", "gw")
        yield lab


def test_they_are_among_the_peers(served: Lab) -> None:
    shown = served.shown()
    assert list(shown) == ["gw/client", "github.com", "printer"], "a peer's name means the peer"
    assert shown["printer"]["gateway"] == "gw"
    assert shown["printer"]["gateway_id"] == identity(served.gateway)
    assert shown["printer"]["url"] == f"ssh://root@{served.server.address}:{served.server.port}"
    assert served.client.call("peer", "show", "Printer")["machine"] == shown["printer"]
    assert b"shown by    gw\n" in served.client.run("peer", "show", "printer").stdout
    rows = [line.split() for line in served.client.run("peer", "list").stdout.decode().splitlines()]
    assert ["printer", "by", "gw", "legacy"] in [row[:4] for row in rows]


def test_a_name_alone_is_enough(served: Lab) -> None:
    done = served.client.run("connect", "printer", "cat; exit 6", stdin=b"in\n")
    assert (done.returncode, done.stdout) == (6, b"in\n"), done.stderr
    done = served.client.run("connect", "nobody@printer", "true")
    assert done.returncode == 255
    assert b"refused the login of nobody" in done.stderr
    done = served.client.run("proxy", "printer", stdin=b"SSH-2.0-test\r\n")
    assert done.stdout.startswith(b"SSH-2.0-OpenSSH"), done.stderr
    with tcp_server(echo) as port, forwarding(served.client, "printer", "-L", f"0:127.0.0.1:{port}") as forwards:
        assert exchange(forwards.connect(), b"through the machine") == b"through the machine"


def test_where_a_peer_has_its_name_the_gateway_is_said_too(served: Lab) -> None:
    assert served.client.run("connect", "gw/client", "echo in").stdout == b"in\n"


def test_it_is_a_station_on_the_way(served: Lab) -> None:
    url = f"ssh://root@localhost:{served.server.port}"
    known_hosts = served.home / ".ssh" / "known_hosts"
    known_hosts.write_text(known_hosts.read_text() + f"[localhost]:{served.server.port} {served.server.host_key}\n")
    done = served.client.run("connect", "-J", "root@printer", url, "echo $SSH_CONNECTION")
    assert done.stdout.startswith((b"127.0.0.1", b"::1")), done.stderr
    error = served.client.failure("connect", "-J", "printer", "printer", "true")
    assert (error["code"], "twice" in error["message"]) == ("usage", True)
    assert served.client.run("connect", "-J", "gw", "printer", "echo in").stdout == b"in\n"


def test_what_needs_irosh_there_says_that_there_is_none(served: Lab) -> None:
    error = served.client.failure("get", "printer:file", ".")
    assert (error["code"], "behind gw" in error["message"]) == ("unknown-target", True), error


def test_openssh_is_told_of_them(served: Lab, tmp_path: Path) -> None:
    """By names that mean nothing else, and by those that a person gives."""
    written = served.client.call("ssh-config")
    hosts = {line for line in str(written["ssh_config"]).splitlines() if line.startswith("Host ")}
    assert {"Host printer.gw.irosh", "Host github.com.gw.irosh", "Host client.gw.irosh"} <= hosts
    assert not {"Host printer", "Host github.com"} & hosts
    assert written["machines"] == ["gw/client", "gw/github.com", "gw/printer"]
    common = f"\nInclude {served.home}/.ssh/config\n"
    configuration = tmp_path / "ssh_config"
    for names, host in (((), "printer.gw.irosh"), (("printer",), "printer")):
        configuration.write_bytes(served.client.run("ssh-config", *names).stdout + common.encode())
        done = LOCAL.run("ssh", "-F", str(configuration), "-oBatchMode=yes", host, "echo in", check=False)
        assert (done.returncode, done.stdout) == (0, b"in\n"), done.stderr
    (tmp_path / "file").write_text("content")
    scp = ("scp", "-O", "-q", "-F", str(configuration), str(tmp_path / "file"), f"printer:{tmp_path}/copy")
    done = LOCAL.run(*scp, check=False)
    assert (done.returncode, (tmp_path / "copy").read_text()) == (0, "content"), done.stderr
    error = served.client.failure("ssh-config", "switch")
    assert error["code"] == "unknown-target"


def test_a_second_gateway_with_the_name_makes_it_ambiguous(served: Lab, tmp_path: Path) -> None:
    other = Irosh(LOCAL, tmp_path / "other")
    client = served.client
    with other.start("host") as process:
        pin(client, str(process.wait_event("ready")["ticket"]), "other")
        other.call("peer", "allow", identity(client), "gateway:ssh://127.0.0.0/8:*")
        with other.start("gateway", "serve", "--list", str(served.machines)) as serving:
            serving.wait_event("serving")
            client.call("gateway", "list", "other")
        error = client.failure("connect", "printer", "true")
        assert (error["code"], error["hint"]) == ("unknown-target", "say which: gw/printer or other/printer")
        assert {"gw/printer", "other/printer"} <= set(served.shown())
    client.call("peer", "remove", "other")
    assert "printer" in served.shown()
