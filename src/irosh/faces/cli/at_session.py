"""A terminal at a session that stays or is shared: for ``irosh session attach``, ``irosh share`` and ``irosh join``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.faces.cli.blocks import Blocks
from irosh.faces.cli.carrier import carry_session
from irosh.faces.cli.connect import EXIT_LOST, SENT_ENVIRONMENT, finish
from irosh.faces.cli.escape_flags import EscapeFlags
from irosh.faces.cli.network_flags import NetworkFlags
from irosh.faces.cli.options import Settings
from irosh.faces.cli.output import report_error
from irosh.faces.cli.running import Abandoned, control_client, running_node
from irosh.faces.cli.session_escapes import SessionEscapes, begin_foreground
from irosh.faces.cli.signals import ended_as_interrupted
from irosh.faces.cli.terminal import LocalTerminal

Request = Callable[[dict[str, Any]], tuple[str, Mapping[str, Any]]]
"""From what is said of the terminal to the operation and its arguments."""


def be_at_session(
    settings: Settings,
    request: Request,
    network: NetworkFlags | None = None,
    *,
    local: bool = False,
    hosting: bool = False,
    escapes: EscapeFlags,
) -> int:
    """Until the session has ended or was left; the exit status of the command.

    ``local``: at a session of the node that runs; ``hosting``: of one that lets peers in, which begins if none runs.
    """
    terminal = None if settings.json else LocalTerminal.find()
    if terminal is None:
        escapes = replace(escapes, character=None)
    foreground = begin_foreground(escapes, terminal)
    described: dict[str, Any] = {
        "env": {key: value for key, value in os.environ.items() if key.startswith(SENT_ENVIRONMENT)}
    }
    if terminal is not None:
        described |= terminal.request()
    try:
        node = running_node(settings) if local else control_client(settings, settings.output, hosting=hosting)
        with ended_as_interrupted(), node as client:
            client.request(*request(described))
            blocks = Blocks(settings.output, network.files() if network else {}, stdin=True, stdout=False)
            with SessionEscapes(settings, escapes, terminal, foreground=foreground) as keys:
                end = carry_session(client, settings.output, terminal, blocks, keys)
                keys.finish()
    except Abandoned as left:
        settings.output.event("closed", {}, f"irosh: {left}")
        return EXIT_LOST
    except IroshError as error:
        report_error(error, as_json=settings.json)
        return 2 if error.code is ErrorCode.USAGE else EXIT_LOST
    return finish(settings, end)
