"""What the SSH service runs for files: the SFTP subsystem, and ``scp`` for peers that may not run commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from irosh.node.accounts import Account
from irosh.node.actions import Files, Grant
from irosh.services.files.scp_command import parse_scp_command
from irosh.services.files.worker_process import worker_arguments

_WORKER = "irosh.services.files.worker"
# Clients that order the arguments of SFTP's SYMLINK as the draft has it, when the server is not OpenSSH.
_STANDARD_LINKS = ("AsyncSSH", "libssh_", "libssh-", "WinSCP")


@dataclass(frozen=True)
class FileProgram:
    """One way to use files: what the peer must be allowed, and the program that then serves its channel."""

    action: Files
    scp: str | None = None
    refusal: str = ""
    """Why there is none after all: what the peer's program shall print."""

    def arguments(self, grant: Grant, account: Account, client_version: str) -> Sequence[str]:
        """The command, started with the host's rights. ``client_version``: what the SSH client calls itself."""
        standard = any(name in client_version for name in _STANDARD_LINKS)
        return worker_arguments(account, grant.trees, module=_WORKER, scp=self.scp, standard_links=standard)


class FileSubsystems:
    """Given to the SSH service, which knows nothing of files."""

    def named(self, name: str) -> FileProgram | None:
        """The subsystem of that name."""
        return FileProgram(Files("sftp")) if name == "sftp" else None

    def standing_in_for(self, command: str) -> FileProgram | None:
        """What can serve a client that wants this command, which the peer may not run."""
        if parse_scp_command(command) is not None:
            return FileProgram(Files("scp"), scp=command)
        if command.startswith("rsync --server"):
            return FileProgram(
                Files("rsync"),
                refusal="rsync runs a program on the host, which takes `exec`; with `files` use sftp, scp or sshfs",
            )
        return None
