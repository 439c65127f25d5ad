"""``irosh ssh-config``: what makes OpenSSH reach peers by their petnames, with their keys checked."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from irosh.core.capability import is_user_name
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.gateway_list import check_entry
from irosh.core.hops import DEFAULT_PORT
from irosh.core.machine_store import Machine
from irosh.core.peer import Peer
from irosh.core.petname import DOMAIN
from irosh.core.state import ENVIRONMENT_VARIABLE, StateDirectory
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.program import own_command

if TYPE_CHECKING:
    from irosh.core.trust import TrustStore

_NOBODY: dict[str, list[str]] = {"peers": [], "machines": []}


@click.command("ssh-config")
@click.argument("names", nargs=-1, metavar="[PEER...]")
@click.option("--write", is_flag=True, help="Put it into ~/.ssh/config, as a block that later runs replace.")
@click.option("--remove", is_flag=True, help="Take that block out of ~/.ssh/config again.")
@click.option("--file", type=click.Path(path_type=Path), metavar="FILE", help="Another file than ~/.ssh/config.")
@common_options
def ssh_config(settings: Settings, names: tuple[str, ...], write: bool, remove: bool, file: Path | None) -> None:
    """Print ssh_config(5) for reaching peers (all, or those named) with OpenSSH, or have it in ~/.ssh/config.

    Machines behind gateways are NAME.GATEWAY.irosh, and those named here also NAME.

    \b
    irosh ssh-config --write                  then:  ssh PEER, git, rsync, scp -O, …
    ssh -F <(irosh ssh-config) PEER           without changing a file
    """
    if write and remove:
        raise click.UsageError("--write and --remove exclude each other")
    if (remove and names) or (file is not None and not (write or remove)):
        raise click.UsageError("--remove takes no names" if names else "--file is about --write and --remove")
    state, known, text = _configuration(settings, names)
    if write or remove:
        from irosh.faces.cli.ssh_config_file import change_file

        changed = change_file(file, _state_option(settings, state), text if write else None)
        settings.output.result({**changed.fields(), **(known if write else _NOBODY)}, str(changed))
        return
    nobody = "# No peers yet: connect to one with a ticket first."
    settings.output.result({"ssh_config": text, **known}, text or nobody)


def _configuration(settings: Settings, names: tuple[str, ...]) -> tuple[StateDirectory, dict[str, list[str]], str]:
    """The state directory, whom the configuration is about, and the configuration."""
    from irosh.core.trust import TrustStore

    state = StateDirectory(settings.state_path).ensure()
    with TrustStore(state.database_path) as trust:
        if names:
            peers = [known for name in names if (known := trust.find(name)) is not None]
            machines = [machine for name in names if (machine := _machine(trust, name)) is not None]
        else:
            peers = [known for known in trust.peers() if known.status != "blocked"]
            machines = trust.machines.all()
    chosen = _state_option(settings, state)
    program = own_command() + (["--state", chosen] if chosen is not None else [])
    blocks = [
        *(host_block(known, program) for known in peers),
        *(machine_block(machine, program, by_name=bool(names)) for machine in machines),
    ]
    about = {
        "peers": [known.petname for known in peers],
        "machines": [machine.full_name for machine in machines],
    }
    return state, about, "\n\n".join(blocks)


def _machine(trust: TrustStore, name: str) -> Machine | None:
    """The machine behind a gateway that ``name`` means, unless it is a peer. ``IroshError`` (unknown-target)."""
    if trust.find(name) is not None:
        return None
    machine = trust.machines.meant(name)
    if machine is None:
        named_peer(None, name)
    return machine


def _state_option(settings: Settings, state: StateDirectory) -> str | None:
    """The state directory, unless it is the one that is used without being named."""
    return str(state.path) if settings.state is not None or os.environ.get(ENVIRONMENT_VARIABLE) else None


def named_peer(known: Peer | None, name: str) -> Peer:
    """``known``, what was found under ``name``. ``IroshError`` (unknown-target)."""
    if known is None:
        raise IroshError(ErrorCode.UNKNOWN_TARGET, f"no peer is named {name[:80]!r}", "`irosh peer list` shows them")
    return known


def host_block(known: Peer, program: Sequence[str], through: Sequence[str] = ()) -> str:
    """What ssh_config(5) must say of a peer. ``program``: how irosh is called, with its state directory; ``through``:
    the options of `irosh proxy` about the way there.
    """
    lines = [
        *_head([known.petname], known.remote_user),
        f"    HostKeyAlias {known.petname}",
        f"    ProxyCommand {_shell_words([*program, 'proxy', *through])} '%h'",
        f"    KnownHostsCommand {_ssh_words(program)} identity export-ssh %H",
        # Only the pinned identity counts, whatever these files say of a machine with the same name.
        "    UserKnownHostsFile none",
        "    GlobalKnownHostsFile none",
        "    StrictHostKeyChecking yes",
    ]
    return "\n".join(lines)


def machine_block(machine: Machine, program: Sequence[str], *, by_name: bool) -> str:
    """What ssh_config(5) must say of a machine behind a gateway; its key is looked up as ever, in known_hosts.

    The gateway chose the name, so that it gets a form that means no other machine. ``by_name``: it may have its own as
    well, which a person gave it.
    """
    stop = check_entry(machine.name, machine.url)
    hosts = [f"{machine.name}.{machine.gateway}{DOMAIN}", *([machine.name] if by_name and machine.unique else [])]
    lines = [
        *_head(hosts, stop.user),
        f"    HostName {stop.host.replace('%', '%%')}",
        f"    Port {stop.port or DEFAULT_PORT}",
        f"    ProxyCommand {_shell_words([*program, 'proxy', machine.full_name])}",
    ]
    return "\n".join(lines)


def _head(hosts: Sequence[str], user: str | None) -> list[str]:
    """The first lines of a block."""
    # Host patterns are matched by case, petnames are not.
    lines = [f"Host {' '.join(dict.fromkeys(form for host in hosts for form in (host, host.lower())))}"]
    # Others say what the user is called; anything but a plain name could be a further line of configuration.
    if user is not None and is_user_name(user):
        lines.append(f"    User {user}")
    return lines


def _shell_words(words: Sequence[str]) -> str:
    """For ProxyCommand, which the user's shell runs."""
    return " ".join(shlex.quote(word).replace("%", "%%") for word in words)


def _ssh_words(words: Sequence[str]) -> str:
    """For KnownHostsCommand, which ssh splits itself: double quotes, in which a backslash escapes both."""
    return " ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"' for word in words)
