"""``irosh ca``: certificate authorities whose SSH user certificates let identities in without an invite."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import click

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.trust import TrustStore
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.table import fields, printable, table

MAX_FILE = 64 * 1024
# Kinds of keys whose signatures are verified here.
KINDS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)


@click.group()
def ca() -> None:
    """Trust certificate authorities, and revoke certificates.

    An identity for which a trusted authority made a certificate (ssh-keygen -s) gets in without an invite.
    """


@ca.command()
@click.argument("keyfile", type=click.Path())
@click.option("--principals", metavar="PATTERNS", help="Of these a certificate must name one (default: this user).")
@click.option("--allow", "capabilities", multiple=True, metavar="CAP", help="What it may grant; repeatable.")
@common_options
def trust(settings: Settings, keyfile: str, principals: str | None, capabilities: tuple[str, ...]) -> None:
    """Trust the authority whose public key is in KEYFILE, or change what it may grant.

    Without --allow that is what an invite grants. PATTERNS are names between commas, with * and ?, and ! for not.
    """
    from irosh.core.capability import parse_capabilities
    from irosh.core.config import load_config
    from irosh.core.state import StateDirectory
    from irosh.node.warrants import fingerprint

    line, comment = _public_key(keyfile)
    state = StateDirectory(settings.state_path).ensure()
    granted = parse_capabilities(capabilities or load_config(state.config_path).host.allow)
    name = fingerprint(base64.b64decode(line.split()[1]))
    with TrustStore(state.database_path) as store:
        store.authorities.trust(name, line, comment, principals, granted)
        store.audit("ca-trust", None, "changed", f"{name} {comment}")
        authority = store.authorities.get(name)
    assert authority is not None
    named = f"for {principals}" if principals else "for the user this host runs as"
    settings.output.result(
        {"authority": authority.to_dict()},
        f"{name} is trusted {printable(named)}; it may grant: {' '.join(map(str, granted))}",
    )


@ca.command("list")
@common_options
def list_authorities(settings: Settings) -> None:
    """Show the authorities that are trusted, and what was revoked."""
    with _store(settings) as store:
        authorities, revoked = store.authorities.all(), store.authorities.revocations()
    rows = [
        (each.fingerprint, each.principals or "-", each.comment or "-", " ".join(map(str, each.capabilities)))
        for each in authorities
    ]
    text = table(("AUTHORITY", "PRINCIPALS", "COMMENT", "GRANTS"), rows) if rows else "No authority is trusted."
    if revoked:
        text += "\n\nRevoked:\n" + fields([(f"{kind} {value}", name) for name, kind, value in revoked])
    settings.output.result(
        {
            "authorities": [each.to_dict() for each in authorities],
            "revoked": [{"authority": name, "kind": kind, "value": value} for name, kind, value in revoked],
        },
        text,
    )


@ca.command()
@click.argument("authority")
@common_options
def remove(settings: Settings, authority: str) -> None:
    """Do not trust AUTHORITY any more: a fingerprint, or the file with its key."""
    with _store(settings) as store:
        name = _named(store, authority)
        store.authorities.remove(name)
        store.audit("ca-remove", None, "changed", name)
    settings.output.result({"removed": name}, f"{name} is not trusted any more")


@ca.command()
@click.option("--serial", type=click.IntRange(0, 2**64 - 1), metavar="N", help="The certificate with this serial.")
@click.option("--key-id", metavar="ID", help="Certificates with this key id (ssh-keygen -I).")
@click.option("--authority", metavar="AUTHORITY", help="Whose, if several are trusted: fingerprint or key file.")
@common_options
def revoke(settings: Settings, serial: int | None, key_id: str | None, authority: str | None) -> None:
    """Take a certificate no more, by its serial number or its key id. Live sessions are served no further."""
    if (serial is None) == (key_id is None):
        raise click.UsageError("give either --serial or --key-id")
    kind: Literal["serial", "key-id"] = "serial" if key_id is None else "key-id"
    value = str(serial) if key_id is None else key_id
    with _store(settings) as store:
        name = _named(store, authority)
        store.authorities.revoke(kind, value, name)
        store.audit("ca-revoke", None, "changed", f"{kind} {value} of {name}")
    settings.output.result(
        {"authority": name, "kind": kind, "value": value}, f"{kind} {printable(value)} of {name} is revoked"
    )


@contextmanager
def _store(settings: Settings) -> Iterator[TrustStore]:
    from irosh.core.state import StateDirectory

    with TrustStore(StateDirectory(settings.state_path).ensure().database_path) as store:
        yield store


def _named(store: TrustStore, text: str | None) -> str:
    """The fingerprint of the authority that is meant; without a name, of the only one."""
    from irosh.node.warrants import fingerprint

    known = store.authorities.all()
    if text is None:
        if len(known) != 1:
            raise IroshError(ErrorCode.USAGE, "which authority?", "name it; `irosh ca list` shows them")
        return known[0].fingerprint
    if any(each.fingerprint == text for each in known):
        return text
    if Path(text).is_file():
        line, _ = _public_key(text)
        return fingerprint(base64.b64decode(line.split()[1]))
    raise IroshError(
        ErrorCode.UNKNOWN_TARGET, f"no authority is called {printable(text[:80])}", "`irosh ca list` shows them"
    )


def _public_key(file: str) -> tuple[str, str]:
    """The key and the comment in a ``.pub`` file."""
    from irosh.core.authorized_keys import LineError, parse_line

    try:
        with Path(file).open(errors="replace") as opened:
            text = opened.read(MAX_FILE).strip()
        key = parse_line(text.splitlines()[0] if text else "x")
    except OSError as error:
        raise IroshError(ErrorCode.USAGE, f"cannot read {file}: {error.strerror}") from None
    except LineError as error:
        raise IroshError(ErrorCode.USAGE, f"{file} is no public key: {error}", "give the .pub file") from None
    if key.kind not in KINDS:
        raise IroshError(ErrorCode.USAGE, f"certificates by a key of type {key.kind} are not verified here")
    return f"{key.kind} {base64.b64encode(key.blob).decode()}", key.comment
