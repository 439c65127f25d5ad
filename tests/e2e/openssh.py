"""The stock OpenSSH client through ``irosh proxy``."""

from __future__ import annotations

import getpass
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.lab.irosh_process import Irosh
from tests.lab.machine import LOCAL
from tests.lab.pair import PEER

# An address that nobody may be asked for by a peer with the default capabilities; nothing is sent to it.
FORBIDDEN = "192.0.2.1:80"


@dataclass(frozen=True)
class OpenSSH:
    """``ssh`` with its options, and none of this machine's own configuration."""

    options: tuple[str, ...]

    @property
    def command(self) -> tuple[str, ...]:
        """What comes before the host's name."""
        return ("ssh", *self.options)

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run it to its end."""
        return LOCAL.run(*self.command, *arguments, stdin=stdin, check=False)


def openssh(client: Irosh, directory: Path) -> OpenSSH:
    """``ssh`` through the client's ``irosh proxy``; checks the host key against what irosh exports."""
    known_hosts = directory / "known_hosts"
    known_hosts.write_bytes(client.run("identity", "export-ssh", PEER).stdout)
    return openssh_knowing(client, known_hosts)


def openssh_knowing(client: Irosh, known_hosts: Path) -> OpenSSH:
    """The same, with a file of known hosts that was there before."""
    settings = {
        "ProxyCommand": f"{shlex.join(client.command)} proxy %h",
        "UserKnownHostsFile": str(known_hosts),
        "GlobalKnownHostsFile": "none",
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "User": getpass.getuser(),
    }
    return OpenSSH(("-F", "none", *(f"-o{name}={value}" for name, value in settings.items())))
