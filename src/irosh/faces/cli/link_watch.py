"""What the node tells of a stream while the command is busy with its bytes: heard in a thread."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from irosh.core.errors import IroshError
from irosh.faces.cli.link_notices import LinkNotices
from irosh.node.control_client import ControlClient

_LAST_WORDS = 5.0  # seconds until the node has told why a stream was broken off


class LinkWatch:
    """Hears what is told by ``client``, whose stream was opened, while the context lasts; events go to ``notices``."""

    def __init__(self, client: ControlClient, notices: LinkNotices | None) -> None:
        self._client = client
        self._notices = notices
        self._failure: IroshError | None = None
        self._thread = threading.Thread(target=self._watch, name="link", daemon=True)

    def __enter__(self) -> LinkWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._client.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread; closing would not
        self._thread.join()

    def failure(self) -> IroshError | None:
        """Why the stream, which has ended, was broken off, as the node says; None when it does not."""
        self._thread.join(_LAST_WORDS)
        return self._failure

    def _watch(self) -> None:
        try:
            for message in self._client.messages():
                if self._notices is not None:
                    self._notices.show(message)
        except IroshError as error:
            self._failure = error
