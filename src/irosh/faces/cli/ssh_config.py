"""``irosh ssh-config``: what makes OpenSSH reach peers by their petnames, with their keys checked."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from irosh.core.capability import is_user_name
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.peer import Peer
from irosh.core.state import ENVIRONMENT_VARIABLE, StateDirectory
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.program import own_command


@click.command("ssh-config")
@click.argument("names", nargs=-1, metavar="[PEER...]")
@click.option("--write", is_flag=True, help="Put it into ~/.ssh/config, as a block that later runs replace.")
@click.option("--remove", is_flag=True, help="Take that block out of ~/.ssh/config again.")
@click.option("--file", type=click.Path(path_type=Path), metavar="FILE", help="Another file than ~/.ssh/config.")
@common_options
def ssh_config(settings: Settings, names: tuple[str, ...], write: bool, remove: bool, file: Path | None) -> None:
    """Print ssh_config(5) for reaching peers (all, or those named) with OpenSSH, or have it in ~/.ssh/config.

    \b
    irosh ssh-config --write                  then:  ssh PEER, git, rsync, scp -O, …
    ssh -F <(irosh ssh-config) PEER           without changing a file
    """
    if write and remove:
        raise click.UsageError("--write and --remove exclude each other")
    if (remove and names) or (file is not None and not (write or remove)):
        raise click.UsageError("--remove takes no names" if names else "--file is about --write and --remove")
    state, peers, text = _configuration(settings, names)
    if write or remove:
        from irosh.faces.cli.ssh_config_file import change_file

        changed = change_file(file, _state_option(settings, state), text if write else None)
        settings.output.result({**changed.fields(), "peers": [known.petname for known in peers] * write}, str(changed))
        return
    nobody = "# No peers yet: connect to one with a ticket first."
    settings.output.result({"ssh_config": text, "peers": [known.petname for known in peers]}, text or nobody)


def _configuration(settings: Settings, names: tuple[str, ...]) -> tuple[StateDirectory, list[Peer], str]:
    from irosh.core.trust import TrustStore

    state = StateDirectory(settings.state_path).ensure()
    with TrustStore(state.database_path) as trust:
        peers = [named_peer(trust.find(name), name) for name in names] or [
            known for known in trust.peers() if known.status != "blocked"
        ]
    chosen = _state_option(settings, state)
    program = own_command() + (["--state", chosen] if chosen is not None else [])
    return state, peers, "\n\n".join(host_block(known, program) for known in peers)


def _state_option(settings: Settings, state: StateDirectory) -> str | None:
    """The state directory, unless it is the one that is used without being named."""
    return str(state.path) if settings.state is not None or os.environ.get(ENVIRONMENT_VARIABLE) else None


def named_peer(known: Peer | None, name: str) -> Peer:
    """``known``, what was found under ``name``. ``IroshError`` (unknown-target)."""
    if known is None:
        raise IroshError(ErrorCode.UNKNOWN_TARGET, f"no peer is named {name[:80]!r}", "`irosh peer list` shows them")
    return known


def host_block(known: Peer, program: Sequence[str]) -> str:
    """What ssh_config(5) must say of a peer. ``program``: how irosh is called, with its state directory."""
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
