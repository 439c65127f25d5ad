"""``irosh connect -O COMMAND PEER``: ask the running node, as OpenSSH's ``-O`` asks a ControlMaster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.forward_spec import ForwardSpecError
from irosh.faces.cli.forward_flags import ForwardFlags, allocated, pointing
from irosh.faces.cli.forwarding import forward_text, wanted_text
from irosh.faces.cli.options import Settings
from irosh.faces.cli.running import running_node

ControlCommand = Callable[[Settings, dict[str, Any], ForwardFlags], int]


def run_control_command(settings: Settings, request: dict[str, Any], flags: ForwardFlags) -> int:
    """Run ``-O``; the exit status. ``request`` are the fields of a ``TargetRequest``. ``IroshError``: not-running, …"""
    assert flags.control is not None
    try:
        return COMMANDS[flags.control](settings, request, flags)
    except ForwardSpecError as error:
        raise pointing(error) from None


def _check(settings: Settings, request: dict[str, Any], _flags: ForwardFlags) -> int:
    """Whether the node has a session with the peer."""
    with running_node(settings) as client:
        status = client.call("status", {})
    with running_node(settings) as client:
        answer = client.call("forward.hold", {**request, "command": "list"})
    if not answer["connected"]:
        raise IroshError(ErrorCode.NOT_RUNNING, "the node that runs has no session with this peer")
    settings.output.result(
        {"pid": status["pid"], "forwards": answer["forwards"]}, f"Master running (pid={status['pid']})"
    )
    return 0


def _forward(settings: Settings, request: dict[str, Any], flags: ForwardFlags) -> int:
    """Have the node hold the forwards until they are cancelled or it ends."""
    begun = []
    for kind, spec in flags.asked:
        asked = {**request, "command": "add", "forward": forward_text(kind, spec, flags.options)}
        with running_node(settings) as client:
            forward = client.call("forward.hold", asked)["forward"]
        begun.append(forward)
        if not settings.json and (text := allocated(kind, spec, forward["listens"])) is not None:
            # As ssh -O forward does: the bare port, for scripts.
            settings.output.result({}, text.split()[2] if kind == "R" else text)
    if settings.json:
        settings.output.result({"forwards": begun}, "")
    return 0


def _cancel(settings: Settings, request: dict[str, Any], flags: ForwardFlags) -> int:
    """End forwards, whoever holds them. Their open connections go on."""
    for kind, spec in flags.asked:
        asked = {**request, "command": "cancel", "forward": wanted_text(kind, spec, flags.options)}
        with running_node(settings) as client:
            client.call("forward.hold", asked)
    if settings.json:
        settings.output.result({}, "")
    return 0


def _exit(settings: Settings, request: dict[str, Any], _flags: ForwardFlags) -> int:
    """End the connection, and whatever uses it."""
    return _end(settings, request, "Exit request sent.", at_once=True)


def _stop(settings: Settings, request: dict[str, Any], _flags: ForwardFlags) -> int:
    """Have the connection take no further commands; it ends with those that use it."""
    return _end(settings, request, "Stop listening request sent.", at_once=False)


def _end(settings: Settings, request: dict[str, Any], text: str, *, at_once: bool) -> int:
    with running_node(settings) as client:
        answer = client.call("link.end", {**request, "at_once": at_once})
    settings.output.result(answer, text)
    return 0


COMMANDS: dict[str, ControlCommand] = {
    "check": _check,
    "forward": _forward,
    "cancel": _cancel,
    "exit": _exit,
    "stop": _stop,
}
"""One for each of :data:`irosh.faces.cli.forward_flags.CONTROL_COMMANDS`."""
