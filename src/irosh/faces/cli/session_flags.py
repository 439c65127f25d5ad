"""``--session`` of ``irosh connect``, and how such a session begins and ends for whoever is at it."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from irosh.faces.cli.options import Settings
from irosh.faces.cli.output import style
from irosh.faces.cli.table import age, clock_time, printable, table

F = TypeVar("F", bound=Callable[..., Any])

EXIT_TAKEN_AWAY = 255
POLL = 0.2  # seconds
# What belongs to the session itself; the rest of a request says whom to reach and how.
_OF_SESSION = ("user", "command", "terminal", "size", "modes", "env")

_LEFT = {
    "detached": "detached from session {name}; it goes on",
    "killed": "session {name} was killed",
    "removed": "you were removed from session {name} by its owner",
    "revoked": "session {name} was ended: access to the host was revoked",
    "unshared": "session {name} is not shared any more",
    "share-over": "session {name} is over: its owner has left",
    "host-stopped": "session {name} was ended: irosh on the host has stopped",
}


def session_option(function: F) -> F:
    """Add ``--session`` to a command."""
    return click.option(
        "--session", metavar="NAME", help="Stay on the host as NAME when this side leaves; attach if it runs."
    )(function)


def check_stays(session: str | None, given: Mapping[str, bool]) -> None:
    """``click.UsageError`` when there is to be a session that stays, and one of the options ``given`` cannot be had
    with it.
    """
    for option, is_given in given.items():
        if session is not None and is_given:
            raise click.UsageError(f"{option} does not go with --session")


def session_request(request: Mapping[str, Any], name: str | None, *, create: bool) -> dict[str, Any]:
    """The arguments of operation ``session.attach``, from those of ``connect``."""
    session = {key: request[key] for key in _OF_SESSION if key in request}
    rest = {key: value for key, value in request.items() if key not in _OF_SESSION}
    return {**rest, "session": {"purpose": "attach", "name": name, "create": create, **session}}


def begun(message: Mapping[str, Any]) -> str:
    """What is said when somebody is at a session (event ``session``)."""
    name = style(printable(str(message["session"])), "bold", sys.stderr)
    if message["created"]:
        return f"irosh: session {name} begins"
    others = message["participants"] - 1
    beside = "" if not others else f"; {others} more {'is' if others == 1 else 'are'} here"
    looking = "" if message["may_type"] else "; you may look, not type"
    return f"irosh: in session {name}, which began {age(message['began_at'])} ago{beside}{looking}"


def shared_text(fields: Mapping[str, Any], *, raw: bool) -> str:
    """What is said when a session is shared (event ``shared``), on a terminal in ``raw`` mode or elsewhere."""
    from irosh.core.durations import format_duration

    guests = "one guest" if fields["uses"] == 1 else f"{fields['uses']} guests"
    lifetime = format_duration(max(1, round(fields["expires_at"] - time.time())))
    lines = [
        f"irosh: session {printable(str(fields['session']))} is shared; for {lifetime} from now {guests} may join"
        + (", to look on:" if fields["read_only"] else ", and type:"),
        "",
        f"    {style('irosh join ' + printable(str(fields['ticket'])), 'green', sys.stderr)}",
        "",
        *(["Enter begins."] if raw else []),
    ]
    return ("\r\n" if raw else "\n").join(lines)


def wait_for_enter() -> None:
    """Until Enter is typed on the terminal, which is in raw mode. ``KeyboardInterrupt`` for Ctrl-C."""
    while True:
        while not select.select([0], [], [], POLL)[0]:
            sys.stderr.flush()  # what the terminal has not taken yet
        key = os.read(0, 1)  # what is typed behind it belongs to the session
        if key in (b"", b"\x03"):
            raise KeyboardInterrupt
        if key in (b"\r", b"\n"):
            return


def others_text(event: str, fields: Mapping[str, Any]) -> str:
    """What is said when another one comes or goes (``joined``, ``left``), or may type or not (``keyboard``)."""
    who = printable(str(fields["who"]))
    if event == "keyboard":
        return f"{who} may type" if fields.get("may_type") else f"{who} may only look"
    here = fields["participants"]
    return f"{who} {'has joined' if event == 'joined' else 'has left'}; {here} {'is' if here == 1 else 'are'} here"


def participants_table(participants: Sequence[Mapping[str, Any]]) -> str:
    """Who is at a session."""
    rows = [
        (
            printable(each["who"]),
            "owner" if each["owner"] else "guest",
            "types" if each["may_type"] else "looks",
            "-" if each["size"] is None else f"{each['size'][0]}x{each['size'][1]}",
        )
        for each in participants
    ]
    return table(("WHO", "IS", "MAY", "SIZE"), rows)


def finished(settings: Settings, answer: Mapping[str, Any]) -> int | None:
    """Tell of an end that is not the program's just now; the exit status, None when that is the program's own."""
    name = printable(str(answer.get("session", "")))
    reason = answer.get("left")
    if reason is not None:
        text = _LEFT.get(str(reason), "session {name} was left").format(name=name)
        settings.output.event("over", {"session": name, "reason": reason}, f"irosh: {text}")
        return 0 if reason in ("detached", "share-over") else EXIT_TAKEN_AWAY
    if (ended_at := answer.get("ended_at")) is not None:
        how = (
            f"by signal {printable(str(answer['exit_signal']))}"
            if "exit_signal" in answer
            else f"with status {answer['exit_status']}"
        )
        when = clock_time(ended_at) if time.time() - ended_at > 60 else "just now"
        fields = {"session": name, "ended_at": ended_at}
        settings.output.event("ended", fields, f"irosh: session {name} has ended {how}, {when}; nobody was there")
    return None
