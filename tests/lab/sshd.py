"""A real sshd(8), with keys and a configuration of its own, on any machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.machine import LOCAL, Machine
from tests.lab.requirements import find_program

_CONFIGURATION = """\
Port {port}
ListenAddress {address}
HostKey {directory}/host_key
PidFile none
AuthorizedKeysFile {directory}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
AllowAgentForwarding yes
AllowTcpForwarding yes
LogLevel ERROR
{more}
"""


@dataclass(frozen=True)
class Sshd:
    """A running server. Who has one of the keys in ``authorized_keys`` may log in, as the user it runs as."""

    address: str
    port: int
    directory: Path

    @property
    def url(self) -> str:
        """How ``-J`` and TARGET name it."""
        return f"ssh://{self.address}:{self.port}"

    @property
    def host_key(self) -> str:
        """Type and key, without a comment."""
        return " ".join((self.directory / "host_key.pub").read_text().split()[:2])

    @property
    def known_hosts_line(self) -> str:
        """What a known_hosts file says of it."""
        return f"[{self.address}]:{self.port} {self.host_key}\n"

    def authorize(self, line: str) -> None:
        """Let in whoever has this key."""
        with (self.directory / "authorized_keys").open("a") as file:
            file.write(f"{line.strip()}\n")


def new_key(path: Path, *, passphrase: str = "") -> Path:
    """Make a key pair with ssh-keygen."""
    LOCAL.run("ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", path.name, "-f", str(path))
    return path


# Runs a program for which a file stands in the place of /etc/shadow; for others nothing changes.
_WITH_SHADOW = 'mount --bind "$0" /etc/shadow && exec "$@"'


def _shadow_for_root(directory: Path, password: str) -> Path:
    """A shadow(5) file that knows root only."""
    hashed = LOCAL.run("openssl", "passwd", "-6", "-stdin", stdin=f"{password}\n".encode()).stdout.decode().strip()
    path = directory / "shadow"
    path.touch(mode=0o600)
    path.write_text(f"root:{hashed}:19000:0:99999:7:::\n")
    return path


@contextmanager
def sshd(
    directory: Path,
    machine: Machine,
    port: int,
    *,
    more: str = "",
    environment: str = "",
    password: str | None = None,
) -> Iterator[Sshd]:
    """Serve at ``machine``'s first address. ``more``: lines of sshd_config(5); ``environment``: of its sessions.

    ``password``: what root may log in with instead of a key, at this server only; takes root.
    """
    program = find_program("sshd")
    assert program is not None
    directory.mkdir(parents=True)
    new_key(directory / "host_key")
    (directory / "authorized_keys").touch()
    if environment:
        more += f"\nSetEnv {environment}"
    command = [program]
    if password is not None:
        more += "\nMatch all\nPasswordAuthentication yes"
        command = ["unshare", "--mount", "sh", "-c", _WITH_SHADOW, str(_shadow_for_root(directory, password)), program]
    configuration = directory / "sshd_config"
    configuration.write_text(_CONFIGURATION.format(port=port, address=machine.address, directory=directory, more=more))
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    server = Sshd(machine.address, port, directory)

    def listens() -> bool:
        scanned = machine.run("ssh-keyscan", "-T", "2", "-p", str(port), machine.address, check=False)
        return b"ssh-ed25519" in scanned.stdout

    with machine.running(*command, "-D", "-e", "-f", str(configuration), ready=listens):
        yield server
