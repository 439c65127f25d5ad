"""``irosh peer``: whom this machine knows, and what each may do here."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import Any

import click

from irosh.core.durations import parse_duration
from irosh.core.mode import Mode
from irosh.faces.cli.administration import administer
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.peer_factors import require, require_option, unlock
from irosh.faces.cli.table import age, clock_time, fields, printable, table

_AGENT = {
    "no": "is not offered your ssh-agent, unless a command says so",
    "yes": "is offered your ssh-agent in every session",
    "confirm": "is offered your ssh-agent in every session; you are asked before each use of a key",
}
MOST_MACHINES = 50
"""Shown of one gateway."""


@click.group()
def peer() -> None:
    """List, name, allow, revoke, block and remove peers.

    NAME is a peer's petname, its endpoint id, or at least the first 8 digits of the id.
    """


peer.add_command(require)
peer.add_command(unlock)


@peer.command("list")
@common_options
def list_peers(settings: Settings) -> None:
    """Show all known peers, and the machines to which gateways among them lead: those with STATUS legacy."""
    answer = administer(settings, "list")
    rows = [
        (
            known["petname"],
            known["id"][:10],
            _standing(known),
            age(known["last_seen"]),
            (_standing(known) == "active" and " ".join(known["capabilities"])) or "-",
        )
        for known in answer["peers"]
    ] + _machine_rows(answer["machines"])
    nobody = "No peers yet: `irosh host` makes a ticket for one."
    settings.output.result(answer, table(("PEER", "ID", "STATUS", "SEEN", "MAY USE"), rows) if rows else nobody)


@peer.command()
@click.argument("name")
@common_options
def show(settings: Settings, name: str) -> None:
    """Show all that is known of a peer, or of a machine to which one leads."""
    answer = administer(settings, "show", name=name)
    machine = answer.get("machine")
    text = _machine_description(machine) if machine else _description(answer["peer"], answer["factors"])
    settings.output.result(answer, text)


@peer.command()
@click.argument("endpoint_id", metavar="ID")
@click.option("--name", metavar="NAME", help="Petname to know it by.")
@click.option("--allow", "capabilities", multiple=True, metavar="CAP", help="What it may use here; repeatable.")
@require_option
@common_options
def add(
    settings: Settings, endpoint_id: str, name: str | None, capabilities: tuple[str, ...], require: tuple[str, ...]
) -> None:
    """Make the identity ID a peer, without a ticket.

    `irosh identity show` prints the ID on the peer's machine. Without --allow it may connect, but use nothing.
    """
    answer = administer(
        settings,
        "add",
        endpoint_id=endpoint_id,
        name=name,
        capabilities=list(capabilities),
        require=list(require),
    )
    settings.output.result(answer, f"{_named(answer)} is a peer; it may use: {_capabilities(answer['peer'])}")


@peer.command()
@click.argument("name")
@click.argument("new_name")
@common_options
def rename(settings: Settings, name: str, new_name: str) -> None:
    """Give a peer another petname."""
    answer = administer(settings, "rename", name=name, new_name=new_name)
    settings.output.result(answer, f"{printable(name)} is now {_named(answer)}")


@peer.command()
@click.argument("name")
@click.argument("mode", type=click.Choice([str(mode) for mode in Mode]))
@click.option("--npub", metavar="NPUB", help="The peer's Nostr key, as `irosh nostr key` prints it there.")
@click.option("--nostr-relay", "nostr_relays", multiple=True, metavar="URL", help="Where it listens; repeatable.")
@common_options
def mode(settings: Settings, name: str, mode: str, npub: str | None, nostr_relays: tuple[str, ...]) -> None:
    """Meet a peer in this way from now on, unless a command says otherwise with --mode."""
    answer = administer(settings, "mode", name=name, mode=mode, npub=npub, nostr_relays=list(nostr_relays))
    settings.output.result(answer, f"{_named(answer)} is met by {answer['peer']['mode']}")


@peer.command("forward-agent")
@click.argument("name")
@click.argument("choice", type=click.Choice(["yes", "confirm", "no"]))
@common_options
def forward_agent(settings: Settings, name: str, choice: str) -> None:
    """Offer a peer your ssh-agent in every session, as -A or --confirm-agent do in one; or offer it no more."""
    answer = administer(settings, "forward-agent", name=name, choice=choice)
    settings.output.result(answer, f"{_named(answer)} {_AGENT[answer['peer']['forward_agent']]}")


@peer.command()
@click.argument("name")
@click.argument("capabilities", nargs=-1, required=True, metavar="CAP...")
@click.option("--replace", is_flag=True, help="Grant exactly these, instead of these as well.")
@click.option("--expires", metavar="TIME", help="All the peer's access ends after this time, such as 2d; or never.")
@common_options
def allow(settings: Settings, name: str, capabilities: tuple[str, ...], replace: bool, expires: str | None) -> None:
    """Let a peer use something here; a revoked peer may come back with it.

    CAP is shell, exec, files, forward:tcp://127.0.0.0/8:*, forward:udp://…, forward:unix:///run/*.sock,
    listen:tcp://…, user:NAME or all. Quote it, for the shell's sake.
    """
    answer = administer(
        settings,
        "allow",
        name=name,
        capabilities=list(capabilities),
        replace=replace,
        expires_in=parse_duration(expires) if expires and expires != "never" else None,
        lift_expiry=expires == "never",
    )
    until = answer["peer"]["expires_at"]
    limit = f", until {clock_time(until)}" if until is not None else ""
    settings.output.result(answer, f"{_named(answer)} may use: {_capabilities(answer['peer'])}{limit}")


@peer.command()
@click.argument("name")
@common_options
def revoke(settings: Settings, name: str) -> None:
    """Take all access from a peer, and close its connections at once."""
    answer = administer(settings, "revoke", name=name)
    settings.output.result(answer, f"{_named(answer)} has no access any more{_closed(answer)}")


@peer.command()
@click.argument("name")
@common_options
def block(settings: Settings, name: str) -> None:
    """Refuse an identity for good, even with a new ticket. NAME may be an ID never seen."""
    answer = administer(settings, "block", name=name)
    settings.output.result(answer, f"{_named(answer)} is blocked{_closed(answer)}")


@peer.command()
@click.argument("name")
@common_options
def unblock(settings: Settings, name: str) -> None:
    """Undo block: the peer is again what it was before."""
    answer = administer(settings, "unblock", name=name)
    settings.output.result(answer, f"{answer['unblocked']} is not blocked any more")


@peer.command()
@click.argument("name")
@common_options
def remove(settings: Settings, name: str) -> None:
    """Forget a peer, and close its connections at once."""
    answer = administer(settings, "remove", name=name)
    settings.output.result(answer, f"{answer['removed']} is forgotten{_closed(answer)}")


def _machine_rows(machines: list[dict[str, Any]]) -> list[tuple[str, str, str, str, str]]:
    """A gateway may show many: all of them are in ``--json``, and what `irosh gateway list` shows."""
    rows = []
    for gateway, group in groupby(sorted(machines, key=itemgetter("gateway")), key=itemgetter("gateway")):
        found = list(group)
        rows += [
            (each["target"], f"by {gateway}", "legacy", age(each["shown_at"]), "-") for each in found[:MOST_MACHINES]
        ]
        if (left := len(found) - MOST_MACHINES) > 0:
            rows.append((f"{left} more", f"by {gateway}", "legacy", age(found[0]["shown_at"]), "-"))
    return rows


def _named(answer: dict[str, Any]) -> str:
    return printable(answer["peer"]["petname"])


def _capabilities(known: dict[str, Any]) -> str:
    return printable(" ".join(known["capabilities"])) or "nothing"


def _closed(answer: dict[str, Any]) -> str:
    count = answer["connections_closed"]
    return "" if not count else "; one connection closed" if count == 1 else f"; {count} connections closed"


def _standing(known: dict[str, Any]) -> str:
    """The status, with an expiry that has passed taken into account."""
    import time

    expires_at = known["expires_at"]
    expired = known["status"] == "active" and expires_at is not None and expires_at <= time.time()
    return "expired" if expired else str(known["status"])


def _machine_description(machine: dict[str, Any]) -> str:
    return fields(
        [
            ("name", machine["name"]),
            ("reached as", machine["target"]),
            ("status", "legacy"),
            ("shown by", machine["gateway"]),
            ("address", machine["url"]),
            ("last shown", clock_time(machine["shown_at"])),
        ]
    )


def _description(known: dict[str, Any], factors: dict[str, Any]) -> str:
    return fields(
        [
            ("petname", known["petname"]),
            ("id", known["id"]),
            ("status", _standing(known)),
            ("may use", (_standing(known) == "active" and " ".join(known["capabilities"])) or "nothing"),
            ("must give", " ".join(factors["required"])),
            ("failed attempts", str(factors["failures"] or "")),
            ("known by", known["origin"]),
            ("first seen", clock_time(known["first_seen"])),
            ("last seen", clock_time(known["last_seen"])),
            ("expires", clock_time(known["expires_at"])),
            ("runs as", known["remote_user"] or ""),
            ("addresses", " ".join(known["addresses"])),
            ("relays", " ".join(known["relays"])),
            ("met by", known["mode"]),
            ("npub", known["npub"] or ""),
            ("nostr relays", " ".join(known["nostr_relays"])),
            ("your agent", {"yes": "offered", "confirm": "offered, with a question"}.get(known["forward_agent"], "")),
        ]
    )
