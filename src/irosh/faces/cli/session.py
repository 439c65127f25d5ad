"""``irosh session``: the sessions that stay on a host, and those that are shared on this one."""

from __future__ import annotations

from typing import Any

import click

from irosh.faces.cli.at_session import be_at_session
from irosh.faces.cli.escape_flags import EscapeFlags, escape_flags
from irosh.faces.cli.network_flags import MeetingCommand, NetworkFlags, network_flags
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.running import control_client, running_node
from irosh.faces.cli.session_flags import participants_table, session_request
from irosh.faces.cli.table import age, clock_time, printable, table


@click.group()
def session() -> None:
    """List, attach to, detach and kill sessions that stay; say who may type in shared ones.

    With PEER, your own sessions there; without, all sessions on this machine.
    """


@session.command("list", cls=MeetingCommand)
@click.argument("peer", required=False)
@network_flags(hosting=False)
@common_options
def list_sessions(settings: Settings, peer: str | None, network: NetworkFlags) -> None:
    """Show the sessions there are."""
    answer = _manage(settings, network, peer, "list")
    rows = [
        (
            printable(each["name"]),
            *(() if peer else (each["owner"] or "this machine",)),
            printable(each["user"]),
            str(each["attached"]),
            f"{each['size'][0]}x{each['size'][1]}",
            age(each["began_at"]),
            age(each["used_at"]),
            printable(each["command"] or "shell"),
        )
        for each in answer["sessions"]
    ]
    owner = () if peer else ("OWNER",)
    lines = [table(("SESSION", *owner, "USER", "HERE", "SIZE", "AGE", "USED", "RUNS"), rows)] if rows else []
    for each in answer["ended"]:
        how = f"signal {printable(each['signal'])}" if each["signal"] else f"status {each['status']}"
        lines.append(f"{printable(each['name'])} ended with {how}, {clock_time(each['ended_at'])}")
    settings.output.result(answer, "\n".join(lines) or "No session runs.")


@session.command(cls=MeetingCommand)
@click.argument("where", nargs=-1, required=True, metavar="[[USER@]PEER] NAME")
@escape_flags
@network_flags(hosting=False)
@common_options
def attach(settings: Settings, where: tuple[str, ...], escapes: EscapeFlags, network: NetworkFlags) -> int:
    """Come back to a session that runs; `irosh connect --session NAME PEER` also begins one."""
    peer, name = _peer_and_name(where)
    user, _, target = (peer or "").rpartition("@")

    def request(terminal: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        asked = {**network.request(), "target": target, "user": user or None, **terminal}
        return "session.attach", session_request(asked, name, create=False)

    return be_at_session(settings, request, network, local=not peer, escapes=escapes)


@session.command(cls=MeetingCommand)
@click.argument("where", nargs=-1, required=True, metavar="[PEER] NAME")
@network_flags(hosting=False)
@common_options
def kill(settings: Settings, where: tuple[str, ...], network: NetworkFlags) -> None:
    """End a session and its program."""
    peer, name = _peer_and_name(where)
    answer = _manage(settings, network, peer, "kill", name)
    settings.output.result(answer, f"irosh: session {answer['killed']} was killed")


@session.command(cls=MeetingCommand)
@click.argument("where", nargs=-1, required=True, metavar="[PEER] NAME")
@network_flags(hosting=False)
@common_options
def detach(settings: Settings, where: tuple[str, ...], network: NetworkFlags) -> None:
    """Have all its owner's terminals leave a session, which goes on."""
    peer, name = _peer_and_name(where)
    answer = _manage(settings, network, peer, "detach", name)
    settings.output.result(answer, f"irosh: {answer['detached']} left session {answer['session']}, which goes on")


@session.command(cls=MeetingCommand)
@click.argument("where", nargs=-1, metavar="[[PEER] NAME]")
@network_flags(hosting=False)
@common_options
def who(settings: Settings, where: tuple[str, ...], network: NetworkFlags) -> None:
    """Show who is at a session, and who may type. Without NAME: the one that is shared on this machine."""
    peer, name = _peer_and_name(where) if where else (None, None)
    answer = _manage(settings, network, peer, "who", name)
    nobody = f"Nobody is at session {answer['session']}."
    settings.output.result(answer, participants_table(answer["participants"]) if answer["participants"] else nobody)


def _about_guest(command: str, text: str, help_text: str) -> None:
    """A command of this machine about a guest of a shared session."""

    @session.command(command, help=help_text)
    @click.argument("guest")
    @click.argument("name", required=False, metavar="[NAME]")
    @common_options
    def about_guest(settings: Settings, guest: str, name: str | None) -> None:
        answer = _manage_here(settings, command, name, guest)
        names = ", ".join(map(printable, answer.get("changed", answer.get("removed", []))))
        settings.output.result(answer, f"irosh: {names} {text} in session {answer['session']}")


_about_guest("grant", "may type", "Let GUEST type in a shared session of this machine; `*` is all guests.")
_about_guest("take", "may only look", "Take the keyboard from GUEST in a shared session; `*` is all guests.")
_about_guest("remove", "has no place any more", "Remove GUEST from a shared session, for good; `*` is all guests.")


def _peer_and_name(where: tuple[str, ...]) -> tuple[str | None, str]:
    if len(where) > 2:
        raise click.UsageError("give the peer and the session, or the session only")
    return (where[0] if len(where) == 2 else None), where[-1]


def _manage(
    settings: Settings, network: NetworkFlags, peer: str | None, command: str, name: str | None = None
) -> dict[str, Any]:
    if peer is None:
        return _manage_here(settings, command, name)
    asked = {**network.request(), "target": peer, "command": command, "session": name}
    with control_client(settings, settings.output) as client:
        return client.call("session.manage", asked)


def _manage_here(settings: Settings, command: str, name: str | None, guest: str | None = None) -> dict[str, Any]:
    asked = {"target": "", "command": command, "session": name, "guest": guest}
    with running_node(settings) as client:
        return client.call("session.manage", asked)
