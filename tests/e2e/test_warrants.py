"""``authorized_keys`` and SSH certificates with the program itself, its client and stock OpenSSH."""

from __future__ import annotations

import getpass
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from irosh.core.identity import load_identity
from irosh.core.state import StateDirectory
from tests.e2e.openssh import openssh
from tests.lab.irosh_process import Irosh
from tests.lab.machine import LOCAL
from tests.lab.pair import PEER
from tests.lab.processes import wait_until
from tests.lab.requirements import requires
from tests.support.certificates import CertificateMaker


@dataclass(frozen=True)
class Stranger:
    """A host, and a client that it was told nothing about but a line of a file or a certificate authority."""

    host: Irosh
    client: Irosh
    keys: Path
    target: str

    @property
    def public_key(self) -> str:
        """The client's."""
        return self.client.run("identity", "export-ssh", "--authorized-key").stdout.decode().strip()

    def allow(self, options: str) -> None:
        """Let the client in by a line with ``options``."""
        self.keys.write_text(f"{options} {self.public_key}\n")

    def connect(self, *arguments: str, stdin: bytes = b""):  # type: ignore[no-untyped-def]
        return self.client.run("connect", "--name", PEER, self.target, *arguments, stdin=stdin)


@contextmanager
def strangers(directory: Path, *, config: str = "") -> Iterator[Stranger]:
    host = Irosh(LOCAL, directory / "host", config=config)
    client = Irosh(LOCAL, directory / "client")
    keys = directory / "authorized_keys"
    keys.touch(mode=0o600)
    with host.start("host", "--authorized-keys", str(keys)) as process:
        ready = process.wait_event("ready")
        # A ticket without an invite: where the host is, and nothing that lets anybody in.
        from dataclasses import replace

        from irosh.core.ticket import parse_target

        ticket = parse_target(ready["ticket"])
        assert ticket is not None
        yield Stranger(host, client, keys, replace(ticket, invite=None).encode())


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[Stranger]:
    with strangers(tmp_path) as found:
        yield found


def test_a_line_lets_the_client_in(stranger: Stranger) -> None:
    assert b"does not know your identity" in stranger.connect("true").stderr
    stranger.allow("")
    done = stranger.connect("echo in as $IROSH_PEER")
    assert done.returncode == 0, done.stderr
    (peer,) = stranger.host.call("peer", "list")["peers"]
    assert (peer["origin"], peer["capabilities"]) == ("authorized-keys", [])
    stranger.keys.write_text("")
    assert stranger.connect("true").returncode == 255


def test_a_forced_command_runs_in_place_of_every_other(stranger: Stranger) -> None:
    stranger.allow('command="echo forced: $SSH_ORIGINAL_COMMAND",environment="COLOUR=red"')
    for command in ("cat /etc/passwd", "sh -c 'rm -rf /nowhere'"):
        done = stranger.connect(command)
        assert done.stdout.decode() == f"forced: {command}\n", done.stderr
    assert stranger.connect("-T").stdout == b"forced:\n"
    stranger.allow('command="echo $COLOUR",environment="COLOUR=red"')
    assert stranger.connect("true").stdout == b"red\n"
    refused = stranger.client.run("connect", "--session", "work", PEER)
    assert refused.returncode != 0
    assert b"plain SSH sessions only" in refused.stderr or b"DENIED" in refused.stderr.upper(), refused.stderr


@requires("ssh")
def test_options_hold_for_stock_ssh(stranger: Stranger, tmp_path: Path) -> None:
    stranger.allow("no-pty,no-port-forwarding")
    assert stranger.connect("true").returncode == 0
    ssh = openssh(stranger.client, tmp_path)
    done = ssh.run("-tt", PEER, "tty")
    assert b"PTY allocation request failed" in done.stderr
    assert b"/dev/pts" not in done.stdout
    forward = ssh.run("-W", "127.0.0.1:9", PEER)
    assert b"administratively prohibited" in forward.stderr
    stranger.allow('command="echo forced"')
    assert ssh.run(PEER, "id").stdout == b"forced\n"


@requires("sftp")
def test_a_forced_command_leaves_no_files(stranger: Stranger, tmp_path: Path) -> None:
    stranger.allow('command="echo forced"')
    assert stranger.connect("true").returncode == 0
    source = tmp_path / "source"
    source.write_text("x")
    done = stranger.client.run("put", str(source), f"{PEER}:{tmp_path}/arrived")
    assert done.returncode != 0
    assert not (tmp_path / "arrived").exists()


def test_a_refused_line_is_told_in_the_log_not_to_the_peer(stranger: Stranger) -> None:
    stranger.allow("no-such-option")
    assert b"does not know your identity" in stranger.connect("true").stderr


def test_a_tunnel_is_held_to_permitopen(stranger: Stranger) -> None:
    stranger.allow('permitopen="127.0.0.1:7"')
    assert stranger.connect("true").returncode == 0
    error = stranger.client.failure("tunnel", "open", PEER, "--map", "tcp://127.0.0.1:8=0")
    assert error["code"] == "denied"
    with stranger.client.tunnel(PEER, "tcp://127.0.0.1:7=127.0.0.1:0"):
        pass


# certificates

needs_ssh_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")


def certify(stranger: Stranger, maker: CertificateMaker, *options: str, principals: str | None = None) -> Path:
    """A certificate for the client's identity, made as the documentation says."""
    stranger.client.run("identity", "show")
    identity = load_identity(StateDirectory(stranger.client.state).identity_path)
    names = getpass.getuser() if principals is None else principals
    return maker.certificate_file(identity, *options, key_id="laptop@work", principals=names)


@needs_ssh_keygen
def test_a_certificate_lets_the_client_in_until_it_is_revoked(stranger: Stranger, tmp_path: Path) -> None:
    maker = CertificateMaker(tmp_path / "ca")
    trusted = stranger.host.call("ca", "trust", str(maker.public_file), "--allow", "exec")
    assert trusted["authority"]["capabilities"] == ["exec"]
    file = certify(stranger, maker, "-z", "77")
    assert stranger.connect("true").returncode == 255
    done = stranger.client.run("connect", "--name", PEER, "--certificate", str(file), stranger.target, "echo in")
    assert done.stdout == b"in\n", done.stderr
    shutil.copy(file, stranger.client.state / "identity-cert.pub")
    assert stranger.connect("echo again").stdout == b"again\n"
    (peer,) = stranger.host.call("peer", "list")["peers"]
    assert (peer["origin"], peer["petname"]) == ("certificate", "laptop-work")
    with stranger.client.start("connect", PEER, "cat; sleep 60") as open_session:
        open_session.wait_event("connected")
        stranger.host.call("ca", "revoke", "--serial", "77")
        refused = stranger.client.failure("connect", PEER, "true")
        assert refused["code"] in ("certificate-invalid", "denied"), refused
    error = stranger.client.failure("connect", PEER, "true")
    assert error["code"] == "certificate-invalid"
    assert "revoked" in error["message"]
    listed = stranger.host.call("ca", "list")
    assert listed["revoked"] == [{"authority": trusted["authority"]["fingerprint"], "kind": "serial", "value": "77"}]
    assert "serial 77" in stranger.host.run("ca", "list").stdout.decode()


@needs_ssh_keygen
def test_a_certificate_that_expires_while_connected(stranger: Stranger, tmp_path: Path) -> None:
    maker = CertificateMaker(tmp_path / "ca")
    stranger.host.call("ca", "trust", str(maker.public_file))
    shutil.copy(certify(stranger, maker, "-V", "-1m:+6s"), stranger.client.state / "identity-cert.pub")
    with stranger.client.start("connect", "--name", PEER, stranger.target, "sleep 60") as first:
        first.wait_event("connected")
        wait_until(lambda: stranger.client.run("connect", PEER, "true").returncode == 255, what="it has expired")
        assert first.running
    assert stranger.client.failure("connect", PEER, "true")["code"] == "certificate-invalid"


@needs_ssh_keygen
def test_a_certificate_for_another_user_and_a_forced_command(stranger: Stranger, tmp_path: Path) -> None:
    maker = CertificateMaker(tmp_path / "ca")
    stranger.host.call("ca", "trust", str(maker.public_file))
    own = stranger.client.state / "identity-cert.pub"
    shutil.copy(certify(stranger, maker, principals="somebody-else"), own)
    error = stranger.client.failure("connect", "--name", PEER, stranger.target, "true")
    assert error["code"] == "certificate-invalid"
    assert "somebody-else" in error["message"]
    stranger.host.call("ca", "trust", str(maker.public_file), "--principals", "somebody-*")
    done = stranger.connect("true")  # it is let in, but may not be the user that the host runs as
    assert done.returncode == 255, done.stdout
    shutil.copy(certify(stranger, maker, "-O", "force-command=echo forced"), own)
    stranger.host.call("ca", "trust", str(maker.public_file))
    assert stranger.connect("id").stdout == b"forced\n"


@needs_ssh_keygen
def test_a_certificate_for_a_user_of_a_host_that_runs_as_root(stranger: Stranger, tmp_path: Path) -> None:
    if getpass.getuser() != "root":
        pytest.skip("needs root")
    maker = CertificateMaker(tmp_path / "ca")
    stranger.host.call("ca", "trust", str(maker.public_file), "--principals", "*")
    shutil.copy(certify(stranger, maker, principals="nobody"), stranger.client.state / "identity-cert.pub")
    assert stranger.connect("id -un").returncode == 255
    done = stranger.client.run("connect", f"nobody@{PEER}", "true")
    assert b"is not for the user" not in done.stderr
    # nobody's shell may be one that runs nothing; that it was tried as nobody is what counts
    audit = stranger.host.run("audit").stdout.decode()
    assert "user:nobody" in audit
    denied = stranger.client.run("connect", f"daemon@{PEER}", "true")
    assert denied.returncode == 255
