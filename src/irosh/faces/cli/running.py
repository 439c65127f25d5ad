"""The node a command works with: the one that runs already, or one in this process for as long as it is used."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.state import StateDirectory
from irosh.faces.cli.factor_prompt import FactorPrompt
from irosh.faces.cli.options import Settings
from irosh.faces.cli.output import Output
from irosh.node.control_client import ControlClient, attach

if TYPE_CHECKING:
    from irosh.faces.cli.background_node import BackgroundNode

CHANGE_DEADLINE = 10.0  # seconds for a node of another process to start or end


class Abandoned(Exception):
    """The user leaves a session at once: a node of this process ends with it, whoever else uses it (``~.``)."""


@contextmanager
def control_client(
    settings: Settings, output: Output, *, hosting: bool = False, prepare: Callable[[], None] = lambda: None
) -> Iterator[ControlClient]:
    """Attach to the node of the state directory, or start one that ends when nobody uses it any more.

    ``hosting``: such a one lets peers in. ``prepare`` is called before it is started.
    """
    state = StateDirectory(settings.state_path)
    with ExitStack() as stack:
        client = _attach_or_start(state, settings, output, stack, hosting=hosting, prepare=prepare)
        client.answers = FactorPrompt(output).answer
        client.questions = _questions(client, output)
        yield client
        client.close()


def _questions(client: ControlClient, output: Output) -> Callable[[dict[str, Any]], bool]:
    def handle(message: dict[str, Any]) -> bool:
        if message.get("event") != "question":
            return False
        from irosh.faces.cli.questions import Questions

        return Questions(output, client.message).handle(message)

    return handle


def _attach_or_start(
    state: StateDirectory,
    settings: Settings,
    output: Output,
    stack: ExitStack,
    *,
    hosting: bool,
    prepare: Callable[[], None],
) -> ControlClient:
    deadline = time.monotonic() + CHANGE_DEADLINE
    prepared = False
    while True:
        if (client := attach(state.control_socket_path)) is not None:
            return stack.enter_context(client)
        if not prepared:
            prepare()
            prepared = True
        # Only now: asyncio alone takes longer to import than attaching takes.
        from irosh.faces.cli.background_node import BackgroundNode

        try:
            node = stack.enter_context(BackgroundNode(settings, output, hosting=hosting))
        except IroshError as error:
            # Another process holds the state directory but does not serve it: its node is just starting, or ending.
            if error.code is not ErrorCode.STATE_IN_USE or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
            continue
        stack.enter_context(_FinishUnlessAbandoned(node))
        return stack.enter_context(ControlClient(state.control_socket_path))


class _FinishUnlessAbandoned:
    """Leaving it lets other commands finish, but not when the user has had enough."""

    def __init__(self, node: BackgroundNode) -> None:
        self._node = node

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not Abandoned:
            self._node.finish()


def running_node(settings: Settings) -> ControlClient:
    """Attach to the running node. ``IroshError`` (not-running)."""
    state = StateDirectory(settings.state_path)
    client = attach(state.control_socket_path)
    if client is None:
        raise IroshError(
            ErrorCode.NOT_RUNNING, f"no node is running with state {state.path}", "start one with `irosh host`"
        )
    client.questions = _questions(client, settings.output)
    return client
