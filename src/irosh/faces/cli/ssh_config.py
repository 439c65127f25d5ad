"""``irosh ssh-config``: what makes OpenSSH reach peers by their petnames, with their keys checked."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

import click

from irosh.core.capability import is_user_name
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.peer import Peer
from irosh.core.state import ENVIRONMENT_VARIABLE, StateDirectory
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.program import own_command


@click.command("ssh-config")
@click.argument("names", nargs=-1, metavar="[PEER...]")
@common_options
def ssh_config(settings: Settings, names: tuple[str, ...]) -> None:
    """Print ssh_config(5) for reaching peers (all, or those named) with OpenSSH.

    \b
    irosh ssh-config >> ~/.ssh/config         then:  ssh PEER, git, rsync, scp -O, …
    ssh -F <(irosh ssh-config) PEER           without changing a file
    """
    from irosh.core.trust import TrustStore

    state = StateDirectory(settings.state_path).ensure()
    with TrustStore(state.database_path) as trust:
        peers = [_named(trust.find(name), name) for name in names] or [
            known for known in trust.peers() if known.status != "blocked"
        ]
    program = own_command()
    if settings.state is not None or os.environ.get(ENVIRONMENT_VARIABLE):
        program += ["--state", str(state.path)]
    text = "\n\n".join(_block(known, program) for known in peers)
    nobody = "# No peers yet: connect to one with a ticket first."
    settings.output.result({"ssh_config": text, "peers": [known.petname for known in peers]}, text or nobody)


def _named(known: Peer | None, name: str) -> Peer:
    if known is None:
        raise IroshError(ErrorCode.UNKNOWN_TARGET, f"no peer is named {name[:80]!r}", "`irosh peer list` shows them")
    return known


def _block(known: Peer, program: Sequence[str]) -> str:
    # Host patterns are matched by case, petnames are not.
    lines = [f"Host {' '.join(dict.fromkeys((known.petname, known.petname.lower())))}"]
    # The peer says what its user is called; anything but a plain name could be a further line of configuration.
    if known.remote_user is not None and is_user_name(known.remote_user):
        lines.append(f"    User {known.remote_user}")
    lines += [
        f"    HostKeyAlias {known.petname}",
        f"    ProxyCommand {_shell_words(program)} proxy '%h'",
        f"    KnownHostsCommand {_ssh_words(program)} identity export-ssh %H",
        # Only the pinned identity counts, whatever these files say of a machine with the same name.
        "    UserKnownHostsFile none",
        "    GlobalKnownHostsFile none",
        "    StrictHostKeyChecking yes",
    ]
    return "\n".join(lines)


def _shell_words(words: Sequence[str]) -> str:
    """For ProxyCommand, which the user's shell runs."""
    return " ".join(shlex.quote(word).replace("%", "%%") for word in words)


def _ssh_words(words: Sequence[str]) -> str:
    """For KnownHostsCommand, which ssh splits itself: double quotes, in which a backslash escapes both."""
    return " ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"' for word in words)
