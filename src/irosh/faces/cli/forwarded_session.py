"""What the flags about forwarding do: beside a session, and in place of one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from irosh.core.errors import IroshError
from irosh.faces.cli.background import Background
from irosh.faces.cli.blocks import Blocks
from irosh.faces.cli.forward_flags import ForwardFlags, allocated
from irosh.faces.cli.link_notices import LinkNotices, tell_connected
from irosh.faces.cli.network_flags import NetworkFlags
from irosh.faces.cli.options import Settings
from irosh.faces.cli.output import Output
from irosh.faces.cli.running import control_client, running_node
from irosh.faces.cli.signals import ended_as_interrupted
from irosh.node.control_client import ControlClient

if TYPE_CHECKING:
    from irosh.core.forward_spec import ForwardKind
    from irosh.faces.cli.forwarding import Forwarding


def without_session(
    settings: Settings, reach: dict[str, Any], flags: ForwardFlags, network: NetworkFlags
) -> int | None:
    """``-O``, ``-W`` and ``-N``; the exit status. None when there is to be a session. ``IroshError``.

    ``reach`` are the fields of a ``TargetRequest``.
    """
    if flags.control is not None:
        from irosh.faces.cli.control_commands import run_control_command

        return run_control_command(settings, reach, flags)
    if flags.stdio is not None:
        from irosh.faces.cli.stdio import carry_stdio

        blocks = Blocks(settings.output, network.files(), stdin=False, stdout=False)
        request = {**reach, "source": flags.stdio_source()}
        with (
            ended_as_interrupted(),
            control_client(settings, settings.output) as client,
            client.open_stream("tunnel.stdio", request, blocks.handle, lambda: blocks.wait(client)) as sock,
        ):
            carry_stdio(client, sock)
        return 0
    if not flags.no_command:
        return None
    background = Background.begin() if flags.background else None
    blocks = Blocks(settings.output, network.files(), stdin=True, stdout=False)
    with (
        ended_as_interrupted(),
        control_client(settings, settings.output) as client,
        _forwards(client, reach, flags, settings.output, blocks) as forwarding,
    ):
        if background is not None:
            background.stand()
        settings.output.event("ready", {}, None if flags.background else "irosh: ready; Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            raise forwarding.wait_ended()
    return 0


@dataclass(frozen=True)
class Begun:
    """A ``client`` to ask for a session with, which ``fields`` of its request to replace, and what is forwarded."""

    client: ControlClient
    fields: dict[str, Any] = field(default_factory=dict)
    forwarding: Forwarding | None = None


@contextmanager
def forwarded_session(
    settings: Settings, reach: dict[str, Any], flags: ForwardFlags, blocks: Blocks
) -> Iterator[Begun]:
    """Begin the forwards of a session, before it.

    When the session has ended, what is still forwarded is waited for. ``IroshError``.
    """
    background = Background.begin() if flags.background else None
    with ExitStack() as stack:
        client = stack.enter_context(control_client(settings, settings.output))
        if not flags.wanted:
            yield Begun(client)
            return
        forwarding = stack.enter_context(_forwards(client, reach, flags, settings.output, blocks))
        second = stack.enter_context(running_node(settings))
        if background is not None:
            background.stand()
        # It is pinned by now, and in the manual modes nobody shall be asked again.
        known = {} if forwarding.is_plain else {"target": forwarding.peer_id, "name": None}
        yield Begun(second, {**known, "mode": None}, forwarding)
        wait_for_connections(forwarding, settings.output)


@contextmanager
def _forwards(
    client: ControlClient, request: dict[str, Any], flags: ForwardFlags, output: Output, blocks: Blocks
) -> Iterator[Forwarding]:
    """Reach the peer and begin the forwards; they end with the context. ``IroshError``.

    ``client`` is used up. What happens to the forwards is told meanwhile.
    """
    from irosh.faces.cli.forwarding import Forwarding

    client.request("forward.open", request)
    for message in client.messages(lambda: blocks.wait(client)):
        if message.get("event") == "connected":
            break
        blocks.handle(message)
    tell_connected(output, message, event=flags.no_command)
    notices = LinkNotices(output, on_terminal=False) if flags.no_command else None
    forwarding = Forwarding.over(
        client, message, options=flags.options, on_event=lambda event: _tell(output, event, notices)
    )
    try:
        for kind, spec in flags.asked:
            _add(forwarding, kind, spec, flags, output)
        yield forwarding
    finally:
        forwarding.close()


def _add(forwarding: Forwarding, kind: ForwardKind, spec: str, flags: ForwardFlags, output: Output) -> None:
    try:
        listens = forwarding.add(kind, spec)
    except IroshError as error:
        failed = IroshError(error.code, f"-{kind} {spec}: {error.message}", error.hint)
        if flags.exit_on_failure:
            raise failed from None
        output.event("forward-failed", {"kind": kind, "spec": spec, "error": error.to_dict()}, f"irosh: {failed}")
    else:
        output.event("forward", {"kind": kind, "spec": spec, "listens": listens}, allocated(kind, spec, listens))


def wait_for_connections(forwarding: Forwarding, output: Output) -> None:
    """As ssh(1) does when its shell has ended: wait for what is still forwarded. Ctrl-C ends it."""
    with suppress(KeyboardInterrupt, IroshError):
        open_now = [
            f"  {connection.peer} to {connection.target}"
            for state in forwarding.list()
            for connection in state.connections
        ]
        if open_now:
            text = "\n".join(["irosh: Waiting for forwarded connections to terminate... (Ctrl-C ends them)", *open_now])
            output.event("waiting", {"connections": len(open_now)}, text)
            forwarding.wait_idle()


def _tell(output: Output, message: dict[str, Any], notices: LinkNotices | None) -> None:
    """In the midst of a shell, perhaps, whose terminal needs a carriage return; without one also of the link."""
    fields = {key: value for key, value in message.items() if key != "event"}
    text: str | None
    match message.get("event"):
        case "refused":
            who = f"{fields['client']} → " if fields.get("client") else ""
            error = IroshError.from_dict(fields["error"]).message
            text = f"irosh: -{fields['kind']} {fields['spec']}: {who}{fields['source']}: {error}"
        case "ended" if notices is None:
            text = f"irosh: nothing is forwarded any more: {IroshError.from_dict(fields['error']).message}"
        case "restored" if notices is not None:
            text = "irosh: connected anew"
        case _:
            if notices is not None:
                notices.show(message)
            return
    output.event(str(message["event"]), fields, f"{text}\r" if sys.stderr.isatty() else text)
