"""``status`` at the prompt: the connection, and what goes on besides the shell."""

from __future__ import annotations

from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.prompt_line import PromptLine
from irosh.core.state import StateDirectory
from irosh.faces.cli.amounts import latency, percent, rate, size
from irosh.faces.cli.prompt.context import PromptContext
from irosh.faces.cli.prompt.forwards import forward_lines
from irosh.faces.cli.table import printable
from irosh.node.control_client import ControlClient

PATIENCE = 3.0  # seconds for the node to answer


def show(context: PromptContext, line: PromptLine) -> None:
    """Print it."""
    if line.rest:
        raise IroshError(ErrorCode.USAGE, "status takes nothing")
    lines = connection_lines(context)
    lines += _section("forwards", forward_lines(context.forwards.states()))
    lines += _section("transfers", context.transfers.lines())
    context.say("\n".join(lines))


def connection_lines(context: PromptContext) -> list[str]:
    """How the connection to the peer does."""
    with ControlClient(StateDirectory(context.settings.state_path).control_socket_path) as client:
        client.socket.settimeout(PATIENCE)
        found = client.call("status", {})
    return [_line(each) for each in found["connections"] if each["id"] == context.peer_id]


def _line(found: dict[str, Any]) -> str:
    how = "down, dialling again" if found["down"] else str(found["path"])
    parts = [
        f"{printable(str(found['peer']))}: {how}",
        f"rtt {latency(found['rtt_ms'], found['jitter_ms'])}",
        f"loss {percent(found['loss'])}",
        f"out {size(found['bytes_sent'])} ({rate(found['send_rate'])})",
        f"in {size(found['bytes_received'])} ({rate(found['receive_rate'])})",
    ]
    return "  ".join(parts)


def _section(heading: str, lines: list[str]) -> list[str]:
    return [f"{heading}:", *(f"  {each}" for each in lines)] if lines else []
