"""``irosh identity``: this machine's key, and what OpenSSH needs of it and of the peers' keys."""

from __future__ import annotations

import re
import socket

import click

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity, load_or_create_identity, openssh_public_key_of, parse_endpoint_id
from irosh.core.peer import Peer
from irosh.core.state import StateDirectory
from irosh.core.trust import TrustStore
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.table import fields

_HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}", re.ASCII)


@click.group()
def identity() -> None:
    """Show, export or rotate this machine's key.

    One Ed25519 key is the machine's endpoint id, its SSH host key and its SSH user key.
    """


@identity.command()
@common_options
def show(settings: Settings) -> None:
    """Show this machine's endpoint id; the first time, make its key.

    The owner of a host who is told the ID can let this machine in: irosh peer add ID --allow shell.
    """
    state = StateDirectory(settings.state_path).ensure()
    own = load_or_create_identity(state.identity_path)
    found = {"id": own.id, "key_file": str(state.identity_path), "fingerprint": _fingerprint(own)}
    settings.output.result(
        found, fields([("id", own.id), ("key file", found["key_file"]), ("SSH fingerprint", found["fingerprint"])])
    )


@identity.command("export-ssh")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("--authorized-key", is_flag=True, help="Print this machine's own public key only.")
@common_options
def export_ssh(settings: Settings, names: tuple[str, ...], authorized_key: bool) -> None:
    """Print known_hosts lines: this machine's key under its host name, and each peer's under its petname.

    With NAMEs only theirs; a NAME may also be an endpoint id.
    """
    state = StateDirectory(settings.state_path).ensure()
    own = load_or_create_identity(state.identity_path)
    hostname = socket.gethostname()
    public_key = own.openssh_public_key(f"irosh@{hostname}")
    with TrustStore(state.database_path) as trust:
        if names:
            lines = [_line_for(trust, own, hostname, name) for name in names]
        else:
            lines = [f"{hostname} {openssh_public_key_of(own.id)}"] if _HOST_NAME.fullmatch(hostname) else []
            lines += [_line(known.petname, known) for known in trust.peers() if known.status != "blocked"]
    settings.output.result(
        {"public_key": public_key, "known_hosts": lines}, public_key if authorized_key else "\n".join(lines)
    )


@identity.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@common_options
def rotate(settings: Settings, yes: bool) -> int:
    """Replace this machine's key by a new one. The node must not be running.

    To all others it is then a stranger: hosts must let it in anew, and peers need a new ticket to reach it. The old
    key is kept in a file beside the new one.
    """
    from irosh.core.identity import load_identity, rotate_identity

    state = StateDirectory(settings.state_path)
    load_identity(state.identity_path)  # before the lock, which would make a file: there may be nothing to rotate
    with state.lock(), TrustStore(state.database_path) as trust:
        old = load_identity(state.identity_path)
        if not (yes or settings.json or _confirmed(old, len(trust.peers()))):
            click.echo("irosh: nothing was changed", err=True)
            return 1
        new, backup = rotate_identity(state.identity_path)
        trust.audit("identity-rotate", None, "changed", f"{old.id} -> {new.id}")
    settings.output.result(
        {"id": new.id, "old_id": old.id, "key_file": str(state.identity_path), "old_key_file": str(backup)},
        f"The new identity is {new.id}\n"
        f"The old key is kept in {backup}\n"
        "Peers must be invited again (irosh invite), and hosts must let this machine in again.",
    )
    return 0


def _confirmed(old: Identity, peers: int) -> bool:
    import sys

    if not sys.stdin.isatty():
        raise IroshError(ErrorCode.USAGE, "rotating the key needs a confirmation", "say --yes")
    known = "1 peer knows" if peers == 1 else f"{peers} peers know"
    click.echo(f"This machine is {old.id}; {known} it and will not recognise the new key.", err=True)
    return click.confirm("Replace the key?", default=False, err=True)


def _line_for(trust: TrustStore, own: Identity, hostname: str, name: str) -> str:
    """The known_hosts line for what a person, or ssh(1), calls ``name``."""
    if (known := trust.find(name)) is not None:
        return _line(name, known)
    if name.lower() == hostname.lower() and _HOST_NAME.fullmatch(hostname):
        return f"{hostname} {openssh_public_key_of(own.id)}"
    if len(name) in (52, 64):
        return f"{name} {openssh_public_key_of(parse_endpoint_id(name))}"
    raise IroshError(ErrorCode.UNKNOWN_TARGET, f"no peer is named {name[:80]!r}", "`irosh peer list` shows them")


def _line(name: str, known: Peer) -> str:
    return f"{name} {openssh_public_key_of(known.id)}"


def _fingerprint(own: Identity) -> str:
    """As ``ssh-keygen -l`` shows it."""
    import base64
    import hashlib

    blob = base64.b64decode(own.openssh_public_key("").split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
