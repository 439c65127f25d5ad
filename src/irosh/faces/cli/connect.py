"""``irosh connect``: a shell on a peer, or a command."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import click

from irosh.core.errors import IroshError
from irosh.core.ssh_url import is_ssh_url
from irosh.faces.cli.agent_flags import agent_flags, agent_request
from irosh.faces.cli.blocks import Blocks
from irosh.faces.cli.carrier import carry_session
from irosh.faces.cli.escape_flags import EscapeFlags, escape_flags
from irosh.faces.cli.forward_flags import ForwardFlags, forward_flags
from irosh.faces.cli.forwarded_session import forwarded_session, without_session
from irosh.faces.cli.network_flags import MeetingCommand, NetworkFlags, network_flags
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.running import Abandoned
from irosh.faces.cli.session_escapes import SessionEscapes, begin_foreground
from irosh.faces.cli.session_exit import cut_short, ended
from irosh.faces.cli.session_flags import check_stays, session_option, session_request
from irosh.faces.cli.signals import ended_as_interrupted
from irosh.faces.cli.ssh_options import SSHOptions, environment, sent_environment, ssh_options
from irosh.faces.cli.standard_streams import lead_to_nothing
from irosh.faces.cli.status_bar_flag import status_bar_option, with_status_bar
from irosh.faces.cli.target import read_target
from irosh.faces.cli.target_completion import complete_station
from irosh.faces.cli.terminal import LocalTerminal
from irosh.faces.cli.through_flags import check_link


class ConnectCommand(MeetingCommand):
    """Takes options before and, as ssh(1) does, right after TARGET; all behind belongs to the remote command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        before, rest = self._options(ctx, args)
        if rest:
            target, tail = rest[0], rest[1:]
            after, command = self._options(ctx, tail)
            args = [*before, *after, "--", target, *command]
        return super().parse_args(ctx, args)

    def _options(self, ctx: click.Context, args: list[str]) -> tuple[list[str], list[str]]:
        """The leading options of ``args``, and the rest, without a ``--`` between."""
        parser = self.make_parser(ctx)
        parser.allow_interspersed_args = False
        parser.ignore_unknown_options = False
        # The parser has dealt the words out to the two arguments; all of them but these are options.
        dealt, _, _ = parser.parse_args(list(args))
        target, command = dealt["target"], dealt["command"]  # neither str nor tuple when there was no word left
        rest = [target] * isinstance(target, str) + list(command if isinstance(command, tuple) else ())
        leading = args[: len(args) - len(rest)]
        return (leading[:-1] if leading and leading[-1] == "--" else leading), rest


@click.command(cls=ConnectCommand)
@click.argument("target", metavar="[USER@]TARGET", shell_complete=complete_station)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND...]")
@click.option("-t", "force_tty", is_flag=True, help="Use a terminal, also for a command.")
@click.option("-T", "no_tty", is_flag=True, help="Use no terminal, also for a shell.")
@click.option("-n", "no_input", is_flag=True, help="Take no input: read /dev/null.")
@agent_flags
@click.option("--name", metavar="NAME", help="Petname to remember the peer by (default: its host name).")
@ssh_options
@escape_flags
@status_bar_option
@forward_flags
@session_option
@network_flags(hosting=False)
@common_options
def connect(
    settings: Settings,
    target: str,
    command: tuple[str, ...],
    force_tty: bool,
    no_tty: bool,
    no_input: bool,
    agent: str | None,
    escapes: EscapeFlags,
    status_bar: bool,
    name: str | None,
    session: str | None,
    network: NetworkFlags,
    forwards: ForwardFlags,
    ssh: SSHOptions,
) -> int:
    """Open a shell on a peer, or run COMMAND there.

    TARGET is a ticket, an endpoint id, an npub or the name of a peer you connected to before; `-` stands for the
    ticket in IROSH_TICKET, which other users of this machine cannot see, and in the modes custom and iroh-manual for
    whoever the offer is from. Input, output, errors and the exit status of COMMAND are passed on; 255 means that the
    connection failed.

    With -J the way leads through other machines, and TARGET may be ssh://[USER@]HOST[:PORT] too.

    When the network is lost, the session waits for it, for ten minutes unless the configuration says otherwise.
    """
    if no_input:
        lead_to_nothing(0)
    user, target = _split_user(target)
    check_link(
        target, {"-O": forwards.control is not None, "--session": session is not None, "--name": name is not None}
    )
    reach: dict[str, Any] = {
        **network.request(),
        **agent_request(agent, ssh),
        "target": read_target(target, network.modes),
        "user": user or ssh.value("User"),
        "name": name,
        "connect_timeout": float(ssh.value("ConnectTimeout") or 0) or None,
    }
    asked: dict[str, Any] = {
        "command": " ".join(command) if command else None,
        "env": sent_environment() | environment(ssh, dict(os.environ)),
    }
    terminal = with_status_bar(settings, LocalTerminal.find()) if status_bar else LocalTerminal.find()
    tty = "force" if force_tty else "no" if no_tty else ssh.value("RequestTTY") or "auto"
    wants_terminal = tty in ("force", "yes") or (tty == "auto" and (not command or session is not None))
    if wants_terminal and not settings.json and (terminal is not None or tty == "force"):
        asked |= terminal.request() if terminal is not None else {"terminal": "dumb"}
    else:
        terminal = None
    escapes = escapes if "terminal" in asked else replace(escapes, character=None)
    # Its programs would go on without the agent when this side leaves.
    agent_asked = reach["forward_agent"] not in (None, "no")
    check_stays(session, {"-A": agent_asked, "-N": forwards.no_command, "-W": forwards.stdio is not None})
    try:
        forwards.check(command)
        if (status := without_session(settings, reach, forwards, network)) is not None:
            return status
        foreground = begin_foreground(escapes, terminal) if not forwards.background else None
        blocks = Blocks(settings.output, network.files(), stdin=True, stdout=False)
        with ended_as_interrupted(), forwarded_session(settings, reach, forwards, blocks) as begun:
            request = {**reach, **begun.fields, **asked}
            if session is None:
                begun.client.request("connect", request)
            else:
                begun.client.request("session.attach", session_request(request, session, create=True))
            with SessionEscapes(
                settings, escapes, terminal, user=reach["user"], foreground=foreground, forwarding=begun.forwarding
            ) as keys:
                end = carry_session(begun.client, settings.output, terminal, blocks, keys)
                keys.finish()
    except (Abandoned, IroshError) as error:
        return cut_short(settings, error)
    return ended(settings, end)


def _split_user(target: str) -> tuple[str | None, str]:
    if is_ssh_url(target):
        return None, target
    user, at, rest = target.strip().rpartition("@")
    return (user, rest) if at and user else (None, rest)
