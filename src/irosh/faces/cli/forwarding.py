"""The forwards of a command: held by the node, as long as this end of a control connection is open. No event loop."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.forward_spec import EVERY_INTERFACE, ForwardKind, ListenAt, parse_forward, parse_listen_part
from irosh.faces.cli.forward_options import DEFAULTS, ForwardOptions
from irosh.faces.cli.options import Settings
from irosh.node.control_client import ControlClient

OnEvent = Callable[[dict[str, Any]], object]


@dataclass(frozen=True)
class ForwardedConnection:
    """An open connection. ``peer``: who made it; ``sent`` and ``received`` in bytes, from and to it."""

    peer: str
    target: str
    sent: int
    received: int


@dataclass(frozen=True)
class ForwardState:
    """A forward. ``listens``: addresses and paths; ``cancelled``: only its last connections are carried.

    ``open`` counts the connections, of which ``connections`` has the first thousand; bytes are of closed ones too.
    """

    kind: ForwardKind
    spec: str
    listens: tuple[str, ...]
    connections: tuple[ForwardedConnection, ...]
    open: int
    sent: int
    received: int
    cancelled: bool

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> ForwardState:
        """As the node tells it."""
        connections = tuple(ForwardedConnection(**each) for each in fields["connections"])
        return cls(
            fields["kind"],
            fields["spec"],
            tuple(fields["listens"]),
            connections,
            fields["open"],
            fields["sent"],
            fields["received"],
            bool(fields.get("cancelled")),
        )


Texts = list[str]
States = list[ForwardState]  # inside the class, `list` is the method of that name


class Forwarding:
    """Forwards to one peer. Its methods may be called by any thread, and raise ``IroshError``.

    ``on_event`` is called in a thread of its own with what happens: ``refused`` (a connection that could not be
    carried), ``lost``, ``resumed``, …, and last ``ended`` when nothing can be forwarded any more.
    """

    def __init__(self, settings: Settings, peer_id: str, *, on_event: OnEvent = lambda _event: None) -> None:
        from irosh.faces.cli.running import running_node

        client = running_node(settings)
        try:
            client.request("forward.open", {"target": peer_id})
            connected = next(message for message in client.messages() if message.get("event") == "connected")
        except BaseException:
            client.close()
            raise
        self._begin(client, connected, DEFAULTS, on_event)

    @classmethod
    def over(
        cls, client: ControlClient, connected: Mapping[str, Any], *, options: ForwardOptions, on_event: OnEvent
    ) -> Forwarding:
        """Take over a client whose operation ``forward.open`` has just said that it is ``connected``."""
        self = cls.__new__(cls)
        self._begin(client, connected, options, on_event)
        return self

    def _begin(
        self, client: ControlClient, connected: Mapping[str, Any], options: ForwardOptions, on_event: OnEvent
    ) -> None:
        self.peer_id = str(connected["id"])
        self.is_plain = connected["id"] is None
        """The target is an ordinary SSH server, not a peer."""
        self.options = options
        self._client = client
        self.on_event = on_event
        self._lock = threading.Lock()
        self._answers: dict[int, SimpleQueue[dict[str, Any]]] = {}
        self._asked = 0
        self._ended: IroshError | None = None
        self._closing = False
        self._reader = threading.Thread(target=self._read, name="forwards", daemon=True)
        self._reader.start()

    def add(self, kind: ForwardKind, spec: str) -> Texts:
        """Begin a forward as after ``-L``, ``-R`` or ``-D``; what listens now, on the peer for ``R``."""
        answer = self._ask("add", forward_text(kind, spec, self.options))
        return list(answer["forward"]["listens"])

    def cancel(self, kind: ForwardKind, spec: str) -> None:
        """End one, named as it was added or only by where it listens. Its open connections go on."""
        self._ask("cancel", wanted_text(kind, spec, self.options))

    def list(self) -> States:
        """All, also cancelled ones with open connections."""
        return [ForwardState.from_dict(each) for each in self._ask("list")["forwards"]]

    def wait_idle(self) -> None:
        """Return once no connection is open."""
        self._ask("idle")

    def wait_ended(self) -> IroshError:
        """Return why, once nothing can be forwarded any more."""
        # Joined in slices: a lock that waits for ever takes no signals on some systems.
        while self._reader.is_alive():
            self._reader.join(3600)
        assert self._ended is not None
        return self._ended

    def close(self) -> None:
        """End all, with their connections."""
        self._closing = True
        with contextlib.suppress(OSError):  # the node has gone
            self._client.socket.shutdown(socket.SHUT_RDWR)
        if threading.current_thread() is not self._reader:
            self._reader.join()
        self._client.close()

    # -- talking to the node

    def _ask(self, command: str, forward: Mapping[str, Any] | None = None) -> dict[str, Any]:
        answers: SimpleQueue[dict[str, Any]] = SimpleQueue()
        with self._lock:
            if self._ended is not None:
                raise self._ended
            self._asked += 1
            number = self._asked
            self._answers[number] = answers
            self._client.message({"command": command, "number": number, "forward": forward})
        answer = answers.get()
        if "error" in answer:
            raise IroshError.from_dict(answer["error"])
        return answer

    def _read(self) -> None:
        error = IroshError(ErrorCode.CONNECTION_LOST, "the node has stopped")
        try:
            for message in self._client.messages():
                if message.get("event") != "answer":
                    self.on_event(message)
                elif (waiting := self._answers.pop(int(message["number"]), None)) is not None:
                    waiting.put(message)
        except IroshError as ended:
            error = ended
        with self._lock:
            self._ended = error
            waiting_all = list(self._answers.values())
            self._answers.clear()
        for each in waiting_all:
            each.put({"error": error.to_dict()})
        if not self._closing:
            self.on_event({"event": "ended", "error": error.to_dict()})


def forward_text(kind: ForwardKind, spec: str, options: ForwardOptions) -> dict[str, Any]:
    """The forward as the node takes it; see :class:`irosh.services.tunnel.messages.ForwardText`."""
    forward = parse_forward(kind, spec, directory=str(Path.cwd()), service_port=service_port)
    target = None if forward.target is None else str(forward.target)
    return {**_listen_fields(kind, forward.listen, options), "text": spec, "target": target}


def wanted_text(kind: ForwardKind, spec: str, options: ForwardOptions) -> dict[str, Any]:
    """The same for one that is to be cancelled, which may be named only by where it listens."""
    try:
        return forward_text(kind, spec, options)
    except IroshError:
        try:
            listen = parse_listen_part(kind, spec, directory=str(Path.cwd()), service_port=service_port)
        except IroshError:
            pass
        else:
            return {**_listen_fields(kind, listen, options), "text": spec}
        raise


def _listen_fields(kind: ForwardKind, listen: ListenAt, options: ForwardOptions) -> dict[str, Any]:
    host = listen.host
    if host is None and options.gateway_ports and kind != "R":
        host = EVERY_INTERFACE
    return {"kind": kind, "host": host, "port": listen.port, "path": listen.path, "unlink": options.unlink}


def service_port(name: str) -> int | None:
    """The port of a service, by services(5)."""
    try:
        return socket.getservbyname(name, "tcp")
    except (OSError, UnicodeError):
        return None
