"""The thing to beat: a real OpenSSH server and client, with keys and configuration of their own."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.places import Place
from bench.programs import Program, find_program, run, started

# sshd run by root insists on it; Debian's service makes it too, and several may share it.
_PRIVILEGE_SEPARATION = Path("/run/sshd")
# SHLVL: bash, when a server runs it, reads ~/.bashrc, and what that does is not to be measured.
_SERVER_CONFIG = """\
ListenAddress {address}
Port {port}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/user_key.pub
AuthenticationMethods publickey
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
AllowTcpForwarding yes
PermitTunnel yes
MaxStartups 1000
MaxSessions 1000
SetEnv SHLVL=2
Subsystem sftp internal-sftp
"""
_CLIENT_CONFIG = """\
Host *
HostName {address}
Port {port}
User {user}
IdentityFile {directory}/user_key
IdentitiesOnly yes
IdentityAgent none
UserKnownHostsFile {directory}/known_hosts
GlobalKnownHostsFile none
StrictHostKeyChecking yes
BatchMode yes
ExitOnForwardFailure yes
PermitLocalCommand yes
"""


@dataclass(frozen=True)
class OpenSSH:
    """A running sshd, and how to reach it. Ciphers and all else are the defaults, what a person gets."""

    server: Program
    client: tuple[str, ...]

    def command(self, *arguments: str) -> list[str]:
        """An ssh client: ``arguments`` go between its configuration and the host's name."""
        return [*self.client, *arguments, "host"]

    def background(self, place: Place, *arguments: str) -> Program:
        """An ssh client without a command (``-N``), for forwards or to be shared, once it is logged in."""
        # A local command runs after login, when the forwards listen.
        command = place.command(*self.command("-N", "-o", "LocalCommand=echo ready", *arguments))
        return started(command, lambda line: line == "ready\n")


@contextmanager
def openssh(place: Place, port: int, directory: Path) -> Iterator[OpenSSH]:
    """Start sshd in ``place``; keys and configuration go to ``directory``. ``Skipped`` when it is not installed."""
    sshd = find_program("sshd", "openssh-server")
    ssh = find_program("ssh", "openssh-client")
    for name in ("host_key", "user_key"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(directory / name)])
    known = f"[{place.address}]:{port} {(directory / 'host_key.pub').read_text()}"
    (directory / "known_hosts").write_text(known)
    fields = {"address": place.address, "port": port, "user": getpass.getuser(), "directory": directory}
    (directory / "sshd_config").write_text(_SERVER_CONFIG.format(**fields))
    (directory / "ssh_config").write_text(_CLIENT_CONFIG.format(**fields))
    if os.geteuid() == 0:
        _PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
    with Program(place.command(sshd, "-D", "-e", "-f", str(directory / "sshd_config"))) as server:
        server.wait_line(lambda line: line if "listening" in line else None)
        yield OpenSSH(server, (ssh, "-F", str(directory / "ssh_config")))
