"""``irosh netcheck``: what this network allows, and what that means for connecting."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.output import style
from irosh.faces.cli.table import fields, milliseconds

if TYPE_CHECKING:
    from irosh.rendezvous.netcheck import FamilyReport, Report


@click.command()
@click.option(
    "--stun-server", "stun_servers", multiple=True, metavar="HOST:PORT", help="STUN server to ask; repeatable."
)
@click.option("--no-stun", is_flag=True, help="Ask no STUN server.")
@click.option("--relay", "relays", multiple=True, metavar="URL", help="Relay to measure; repeatable.")
@click.option("--no-relay", is_flag=True, help="Ask no relay.")
@common_options
def netcheck(
    settings: Settings, stun_servers: tuple[str, ...], no_stun: bool, relays: tuple[str, ...], no_relay: bool
) -> None:
    """Look at what this network allows: addresses, NAT, relays, UDP, MTU. Takes up to 10 seconds.

    The NAT is described in the terms of RFC 4787 and RFC 5780. Exits with 0 whatever is found.
    """
    if relays and no_relay:
        raise click.UsageError("--relay and --no-relay exclude each other")
    if stun_servers and no_stun:
        raise click.UsageError("--stun-server and --no-stun exclude each other")
    from irosh.core.config import load_config
    from irosh.core.network_choice import NetworkChoice
    from irosh.core.state import StateDirectory
    from irosh.rendezvous.netcheck import advice, check_network

    choice = NetworkChoice(
        relays=() if no_relay else relays or None, stun_servers=() if no_stun else stun_servers or None
    )
    config = load_config(StateDirectory(settings.state_path).config_path)
    options = choice.applied_to(config.network_options())
    asked = _public_relays() if options.relays is None else options.relays
    report = asyncio.run(check_network(options.stun_servers, asked, options.relay_token))
    line = advice(report)
    settings.output.result({**_as_json(report), "advice": line}, f"{_as_text(report)}\n\n{style(line, 'bold')}")


def _public_relays() -> tuple[str, ...]:
    from irosh.transport.wheel import public_relays

    return public_relays()


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "udp": report.udp,
        "ipv4": _family_as_json(report.ipv4),
        "ipv6": _family_as_json(report.ipv6),
        "relays": [
            {
                "url": relay.url,
                "rtt_ms": _milliseconds(relay.rtt),
                "error": relay.problem.to_dict() if relay.problem else None,
            }
            for relay in report.relays
        ],
        "problems": [problem.to_dict() for problem in report.problems],
    }


def _family_as_json(family: FamilyReport) -> dict[str, Any]:
    return {
        "local": family.local,
        "reflexive": family.reflexive,
        "stun": [{"server": text, "rtt_ms": _milliseconds(rtt)} for text, rtt in family.servers.items()],
        "mapping": family.mapping,
        "filtering": family.filtering,
        "hairpin": family.hairpin,
        "mtu": family.mtu,
    }


def _as_text(report: Report) -> str:
    relays = [
        (f"relay {relay.url}", milliseconds(_milliseconds(relay.rtt)))
        for relay in sorted(report.relays, key=lambda each: each.rtt or 0)
        if relay.rtt is not None
    ]
    rows = [("UDP", report.udp), *_family_rows("IPv4", report.ipv4), *_family_rows("IPv6", report.ipv6), *relays]
    problems = [f"{style('problem', 'yellow')}  {problem}" for problem in report.problems]
    return "\n".join([fields(rows), *problems])


def _family_rows(name: str, family: FamilyReport) -> list[tuple[str, str]]:
    hairpin = {True: "yes", False: "no", None: ""}[family.hairpin]
    known = family.works
    return [
        (name, " ".join(family.local) or "none"),
        (f"{name} seen as", " ".join(family.reflexive)),
        (f"{name} mapping", str(family.mapping) if known else ""),
        (f"{name} filtering", str(family.filtering) if known else ""),
        (f"{name} hairpin", hairpin),
        (f"{name} MTU", f"{family.mtu} bytes" if family.mtu else ""),
    ]


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
