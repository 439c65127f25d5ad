"""``irosh peer require`` and ``irosh peer unlock``: second factors that this host asks of a peer."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.second_factor import Factor
from irosh.faces.cli.administration import administer
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.table import printable

KINDS = click.Choice([str(factor) for factor in Factor])
NONE = "none"
MAX_FILE = 64 * 1024

require_option = click.option(
    "--require",
    "require",
    multiple=True,
    type=KINDS,
    metavar="FACTOR",
    help="A second factor: password, totp or security-key; repeatable.",
)


@click.command()
@click.argument("name")
@click.argument("factors", nargs=-1, required=True, metavar="FACTOR...")
@click.option("--password-file", type=click.Path(), metavar="FILE", help="The first line is the password; - for stdin.")
@click.option("--key", "keys", multiple=True, type=click.Path(), metavar="FILE", help="Public key (.pub); repeatable.")
@click.option("--verify-required", is_flag=True, help="The security key must ask for its PIN or a fingerprint.")
@click.option("--no-touch-required", is_flag=True, help="The security key need not be touched.")
@click.option("--reset", is_flag=True, help="Set anew what was set before.")
@common_options
def require(
    settings: Settings,
    name: str,
    factors: tuple[str, ...],
    password_file: str | None,
    keys: tuple[str, ...],
    verify_required: bool,
    no_touch_required: bool,
    reset: bool,
) -> None:
    """Ask a peer for second factors before it may use anything here.

    FACTOR is password, totp or security-key; the peer must give each that is named. none asks for nothing more than
    its identity again. What is not yet set is asked for; --reset sets it anew.
    """
    from irosh.core.second_factor import parse_factors

    required = () if factors == (NONE,) else parse_factors(factors)
    known = administer(settings, "show", name=name)
    there = {each["factor"] for each in known["factors"]["set"]} if not reset else set()
    enrol: list[dict[str, Any]] = []
    shown: dict[str, Any] = {}
    if Factor.PASSWORD in required and (password_file is not None or Factor.PASSWORD not in there):
        enrol.append({"factor": Factor.PASSWORD, "value": _hashed(_new_password(settings, name, password_file))})
    if Factor.TOTP in required and Factor.TOTP not in there:
        shown = _new_totp(known["peer"]["petname"])
        enrol.append({"factor": Factor.TOTP, "value": shown["secret"]})
    if Factor.SECURITY_KEY in required and (keys or Factor.SECURITY_KEY not in there):
        conditions = ["verify"] * verify_required + ["no-touch"] * no_touch_required
        enrol += [{"factor": Factor.SECURITY_KEY, "value": line, "conditions": conditions} for line in _key_lines(keys)]
    answer = administer(settings, "require", name=name, factors=list(required), enrol=enrol, reset=reset)
    who = printable(answer["peer"]["petname"])
    text = f"{who} must give: {' '.join(required)}" if required else f"{who} needs no second factor"
    if shown:
        answer["totp"] = shown
        text += _totp_text(shown)
    settings.output.result(answer, text)


@click.command()
@click.argument("name")
@common_options
def unlock(settings: Settings, name: str) -> None:
    """Let a peer try again that was locked out after failed attempts at its second factor."""
    answer = administer(settings, "unlock", name=name)
    count = answer["failures"]
    settings.output.result(
        answer, f"{printable(answer['peer']['petname'])} may try again; failed attempts forgotten: {count}"
    )


def _new_password(settings: Settings, name: str, file: str | None) -> str:
    if file is not None:
        return _read(file).partition("\n")[0].rstrip("\r")
    if settings.json or not sys.stdin.isatty():
        return _read("-").partition("\n")[0].rstrip("\r")
    from irosh.faces.cli.askpass import ask_secret

    password = ask_secret(f"New password for {printable(name)}: ")
    if ask_secret("Again: ") != password:
        raise IroshError(ErrorCode.USAGE, "the two passwords differ; nothing was changed")
    return password


def _hashed(password: str) -> str:
    """Here, so that the password itself goes nowhere else."""
    from irosh.core.password import hash_password

    return hash_password(password)


def _new_totp(petname: str) -> dict[str, Any]:
    from irosh.core import totp

    secret = totp.new_secret()
    return {
        "secret": secret,
        "uri": totp.provisioning_uri(secret, account=petname, issuer=f"irosh {socket.gethostname()}"),
    }


def _totp_text(shown: dict[str, Any]) -> str:
    from irosh.faces.cli.invitation import qr_code

    return (
        "\n\nFor the authenticator app of whoever uses that machine; it is not shown again:\n\n"
        f"{qr_code(shown['uri'])}\n{shown['uri']}"
    )


def _key_lines(files: Sequence[str]) -> list[str]:
    from irosh.core.security_key import security_keys_in

    lines = [key.line for file in files for key in security_keys_in(_read(file))]
    if not lines:
        raise IroshError(
            ErrorCode.USAGE,
            "which security key? Its public key has to be known",
            "give the .pub file that ssh-keygen -t ed25519-sk made: --key FILE",
        )
    return lines


def _read(file: str) -> str:
    try:
        if file == "-":
            return sys.stdin.read(MAX_FILE)
        with Path(file).open(errors="replace") as opened:
            return opened.read(MAX_FILE)
    except OSError as error:
        raise IroshError(ErrorCode.USAGE, f"cannot read {file}: {error.strerror}") from None
