"""How busy a peer is, followed in the background of a command that does something else."""

from __future__ import annotations

import contextlib
import socket
import threading

from irosh.core.errors import IroshError
from irosh.core.state import StateDirectory
from irosh.faces.cli.options import Settings
from irosh.faces.cli.telemetry_line import HostTelemetry, telemetry_of
from irosh.node.control_client import ControlClient

RETRY = 10.0
"""Seconds after which a peer that tells nothing, or not yet, is asked again."""


class TelemetryFeed:
    """Follows the peer from a thread of its own, by the node that the command uses, until :meth:`close`."""

    def __init__(self, settings: Settings, peer_id: str, *, interval: float = 2.0) -> None:
        self._path = StateDirectory(settings.state_path).control_socket_path
        self._request = {"target": peer_id, "interval": interval}
        self._latest: HostTelemetry | None = None
        self._error: IroshError | None = None
        self._client: ControlClient | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="irosh telemetry", daemon=True)
        self._thread.start()

    def latest(self) -> HostTelemetry | None:
        """The last thing heard; None before the first, and while the peer does not tell."""
        return self._latest

    @property
    def error(self) -> IroshError | None:
        """Why the peer does not tell (denied, …); None while it does."""
        return self._error

    def close(self) -> None:
        """Follow no more."""
        self._closed.set()
        with self._lock:
            if self._client is not None:
                # Ends the thread's read; the socket itself is the thread's to close.
                with contextlib.suppress(OSError):
                    self._client.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _follow(self) -> None:
        while not self._closed.is_set():
            try:
                self._follow_once()
            except IroshError as error:
                self._error = error
            self._latest = None
            self._closed.wait(RETRY)

    def _follow_once(self) -> None:
        with ControlClient(self._path) as client:
            with self._lock:
                if self._closed.is_set():
                    return
                self._client = client
            try:
                client.request("telemetry.watch", self._request)
                for message in client.messages():
                    if message.get("event") == "telemetry":
                        self._latest, self._error = telemetry_of(message), None
            finally:
                with self._lock:
                    self._client = None
