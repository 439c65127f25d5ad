"""The node a command works with: the one that runs already, or one in this process for as long as it is used."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.state import StateDirectory
from irosh.faces.cli.options import Settings
from irosh.faces.cli.output import Output
from irosh.node.control_client import ControlClient, attach


@contextmanager
def control_client(settings: Settings, output: Output) -> Iterator[ControlClient]:
    """Attach to the node of the state directory, or start one that ends when nobody uses it any more."""
    state = StateDirectory(settings.state_path)
    if (client := attach(state.control_socket_path)) is not None:
        with client:
            yield client
        return
    with _NodeThread(settings, output) as node, ControlClient(state.control_socket_path) as client:
        yield client
        client.close()
        node.finish()


def running_node(settings: Settings) -> ControlClient:
    """Attach to the running node. ``IroshError`` (not-running)."""
    state = StateDirectory(settings.state_path)
    client = attach(state.control_socket_path)
    if client is None:
        raise IroshError(
            ErrorCode.NOT_RUNNING, f"no node is running with state {state.path}", "start one with `irosh host`"
        )
    return client


class _NodeThread:
    """A node on an event loop of its own thread, so that the command in the main thread stays as simple as attached."""

    def __init__(self, settings: Settings, output: Output) -> None:
        self._settings = settings
        self._output = output
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._node: Any = None
        self._thread = threading.Thread(target=self._run, name="irosh node")

    def __enter__(self) -> _NodeThread:
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error
        return self

    def __exit__(self, *_: object) -> None:
        self._call_stop()
        self._thread.join()

    def finish(self) -> None:
        """Wait while other commands are attached, as an OpenSSH master does; Ctrl-C ends them."""
        node, loop = self._node, self._loop
        if node is None or loop is None:
            return
        unused = asyncio.run_coroutine_threadsafe(node.control.wait_unused(), loop)
        try:
            unused.result(timeout=0.5)
        except TimeoutError:
            self._output.event(
                "waiting",
                {"attached": node.control.attached},
                "irosh: other commands use this connection; waiting for them",
            )
            unused.result()

    def _call_stop(self) -> None:
        if self._node is not None and self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._node.stop)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        from irosh.assembly import NodeOptions, assembled_node

        self._loop = asyncio.get_running_loop()
        async with assembled_node(NodeOptions(state=self._settings.state_path, hosting=False)) as node:
            self._node = node
            await node.run(self._ready.set)
