"""A node inside a command, when none runs yet: on an event loop of its own thread, for as long as it is used."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

from irosh.assembly import NodeOptions, assembled_node
from irosh.faces.cli.options import Settings
from irosh.faces.cli.output import Output


class BackgroundNode:
    """A node on an event loop of its own thread, so that the command in the main thread stays as simple as attached."""

    def __init__(self, settings: Settings, output: Output, *, hosting: bool = False) -> None:
        self._hosting = hosting
        self._settings = settings
        self._output = output
        self._ready = threading.Event()
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._node: Any = None
        self._thread = threading.Thread(target=self._run, name="irosh node")

    def __enter__(self) -> BackgroundNode:
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._stop()
        except KeyboardInterrupt:
            if kind is not None:
                raise  # once more: somebody insists
            self._stop()  # it was ending by itself, and is not left half done
            raise
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """Wait while other commands are attached, as an OpenSSH master does; Ctrl-C ends them."""
        if self._loop is None or not self._thread.is_alive():
            return
        try:
            unused = asyncio.run_coroutine_threadsafe(self._node.control.wait_unused(), self._loop)
        except RuntimeError:
            return  # the node has just ended by itself
        told = False
        while self._thread.is_alive():
            try:
                unused.result(timeout=0.5)
                return
            except TimeoutError:
                if not told:
                    text = "irosh: other commands use this connection; waiting for them (Ctrl-C ends them)"
                    self._output.event("waiting", {"attached": self._node.control.attached}, text)
                    told = True

    def _stop(self) -> None:
        if self._node is not None and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._node.stop)
        # Not by joining the thread: Python takes one for ended whose join was interrupted (CPython's issue 90882).
        self._ended.wait()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            self._error = error
        finally:
            self._ready.set()
            self._ended.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with assembled_node(NodeOptions(state=self._settings.state_path, hosting=self._hosting)) as node:
            self._node = node
            await node.run(self._ready.set)
