"""What happens to a link while its control connection is busy carrying bytes: told beside it, in a thread."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from irosh.core.errors import IroshError
from irosh.core.state import StateDirectory
from irosh.faces.cli.link_notices import LinkNotices
from irosh.faces.cli.options import Settings
from irosh.node.control_client import ControlClient, attach
from irosh.node.control_wire import Kind, parse_message


class LinkWatch:
    """Shows the events of the session with ``peer_id`` while the context lasts. Without a node there are none."""

    def __init__(self, settings: Settings, peer_id: str) -> None:
        self._notices = LinkNotices(settings.output, on_terminal=False)
        self._peer_id = peer_id
        self._path = StateDirectory(settings.state_path).control_socket_path
        self._client: ControlClient | None = None
        self._thread = threading.Thread(target=self._watch, name="link", daemon=True)

    def __enter__(self) -> LinkWatch:
        self._client = attach(self._path)
        if self._client is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            with suppress(OSError):
                self._client.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread; closing would not
            self._thread.join()
            self._client.close()

    def _watch(self) -> None:
        assert self._client is not None
        with suppress(IroshError):  # the node has ended, or we have
            self._client.request("files.link", {"peer": self._peer_id})
            while True:
                for kind, payload in self._client.receive():
                    if kind is Kind.MESSAGE:
                        self._notices.show(parse_message(payload))
