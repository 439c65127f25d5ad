"""Flags about how to meet peers, the same for every command that does."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from irosh.core.mode import Mode
from irosh.core.paths import Paths
from irosh.faces.cli.through_flags import jump_options, taken_jump

F = TypeVar("F", bound=Callable[..., Any])

_MODES = [str(mode) for mode in Mode]


@dataclass(frozen=True)
class NetworkFlags:
    """What was given; ``offer_file`` and ``answer_file`` are where blocks are written to or read from."""

    modes: tuple[str, ...]
    choice: dict[str, Any]
    offer_file: Path | None
    answer_file: Path | None
    paths: str | None = None
    certificate: str | None = None
    jump: dict[str, Any] = field(default_factory=dict)

    def files(self) -> dict[str, Path | None]:
        """By kind of block, for :class:`irosh.faces.cli.blocks.Blocks`."""
        return {"offer": self.offer_file, "answer": self.answer_file}

    def request(self) -> dict[str, Any]:
        """The fields of :class:`irosh.node.target_request.TargetRequest`."""
        return {
            "mode": self.modes[0] if self.modes else None,
            "network": self.choice,
            "paths": self.paths,
            "certificate": self.certificate,
            **self.jump,
        }


class MeetingOption(click.Option):
    """One that :class:`MeetingCommand` lists under a heading of its own."""


class MeetingCommand(click.Command):
    """A command whose help has the flags about how to meet behind its own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records: dict[bool, list[tuple[str, str]]] = {False: [], True: []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                records[isinstance(parameter, MeetingOption)].append(record)
        for about_meeting, heading in ((False, "Options"), (True, "How to meet")):
            with formatter.section(heading):
                formatter.write_dl(records[about_meeting])


def network_flags(*, hosting: bool) -> Callable[[F], F]:
    """Add the flags to a command, which gets them as the keyword argument ``network``."""

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            return function(*args, network=_collect(kwargs), **kwargs)

        for option in reversed(_options(hosting=hosting)):
            wrapped = option(wrapped)
        return wrapped  # type: ignore[return-value]

    return decorate


def _options(*, hosting: bool) -> list[Callable[[Any], Any]]:
    read, written = ("answer", "offer") if hosting else ("offer", "answer")
    option = functools.partial(click.option, cls=MeetingOption)
    file = click.Path(path_type=Path)
    common = [
        option(
            "--mode",
            "modes",
            multiple=hosting,
            type=click.Choice(_MODES),
            help="The way of meeting (iroh-default); repeatable, tickets name the first."
            if hosting
            else "The way of meeting (as the ticket or the peer says, else iroh-default).",
        ),
        option("--relay", "relays", multiple=True, metavar="URL", help="Use this iroh relay; repeatable."),
        option("--no-relay", is_flag=True, help="Use no relay."),
        option("--relay-only", is_flag=True, help="Use no direct path, only relays and TURN servers."),
        option(
            "--stun-server",
            "stun_servers",
            multiple=True,
            metavar="HOST[:PORT]",
            help="Ask this server for the outer address; repeatable.",
        ),
        option("--no-stun", is_flag=True, help="Ask no STUN server."),
        option(
            "--turn-server",
            "turn_servers",
            multiple=True,
            metavar="USER:PASS@HOST[:PORT]",
            envvar="IROSH_TURN_SERVER",
            help="Fall back to this TURN server; repeatable. Unseen by other users: IROSH_TURN_SERVER.",
        ),
        option("--nostr-relay", "nostr_relays", multiple=True, metavar="URL", help="Use this Nostr relay; repeatable."),
        option("--nsec-file", metavar="FILE", help="The Nostr key, if not the one that goes with the identity."),
        option(f"--{written}-file", type=file, metavar="FILE", help=f"Write the {written} there, show none."),
        option(f"--{read}-file", type=file, metavar="FILE", help=f"Take the peer's {read} from there."),
    ]
    if hosting:
        common.append(
            option(
                "--max-sessions",
                type=click.IntRange(0, 100_000),
                metavar="N",
                help="Receivers served at once in mode nostr (10; 0: no limit).",
            )
        )
    else:
        common[:0] = jump_options(option)
        common.append(
            option(
                "--paths",
                type=click.Choice([str(paths) for paths in Paths]),
                help="With several networks: use the fastest, small things twice (redundant), or the sum of all.",
            )
        )
        common.append(
            option("--certificate", metavar="FILE", help="Show this SSH certificate of the identity to the host.")
        )
    return common


def _collect(given: dict[str, Any]) -> NetworkFlags:
    modes = given.pop("modes")
    relays, no_relay, relay_only = given.pop("relays"), given.pop("no_relay"), given.pop("relay_only")
    stun_servers, no_stun = given.pop("stun_servers"), given.pop("no_stun")
    if relays and no_relay:
        raise click.UsageError("--relay and --no-relay exclude each other")
    if relay_only and no_relay:
        raise click.UsageError("--relay-only and --no-relay exclude each other")
    if stun_servers and no_stun:
        raise click.UsageError("--stun-server and --no-stun exclude each other")
    nsec_file = given.pop("nsec_file")
    certificate = given.pop("certificate", None)
    choice = {
        "relays": () if no_relay else relays or None,
        "relay_only": relay_only,
        "stun_servers": () if no_stun else stun_servers or None,
        "turn_servers": given.pop("turn_servers") or None,
        "nostr_relays": given.pop("nostr_relays") or None,
        "nsec_file": str(Path(nsec_file).absolute()) if nsec_file else None,
        "max_sessions": given.pop("max_sessions", None),
    }
    return NetworkFlags(
        modes=modes if isinstance(modes, tuple) else (modes,) if modes else (),
        choice=choice,
        offer_file=given.pop("offer_file"),
        answer_file=given.pop("answer_file"),
        paths=given.pop("paths", None),
        certificate=str(Path(certificate).absolute()) if certificate else None,
        jump=taken_jump(given),
    )
