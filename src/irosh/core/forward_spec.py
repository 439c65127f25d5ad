"""Forwards as ssh(1) spells them after ``-L``, ``-R``, ``-D`` and ``-W``: text in, values out. Pure.

::

    -L, -R   [bind_address:]port:host:hostport    -L, -R   [bind_address:]port:remote_socket
    -L, -R   local_socket:host:hostport           -L, -R   local_socket:remote_socket
    -D, -R   [bind_address:]port                  -D, -R   local_socket

The rules of OpenSSH's ``parse_forward()``: a field in brackets is taken literally, a backslash takes the next
character literally, a field with a slash is a path, a port may be a service's name. The older way to write IPv6
addresses, ``bind/port/host/hostport``, is read too. Beyond OpenSSH, ``-L`` and ``-D`` take port 0 for any free one.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from irosh.core.addresses import parse_ip
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.socket_spec import Fault, SocketSpec, bracketed, parse_host, parse_path
from irosh.core.wording import escape, quoted

ForwardKind = Literal["L", "R", "D"]
KINDS: tuple[ForwardKind, ...] = ("L", "R", "D")
ServicePort = Callable[[str], int | None]
"""The port of a service's name, as getservbyname(3) knows it; None for others."""

EVERY_INTERFACE = "*"
_LONGEST = 4 * 4096
_SLASHES = re.compile(r"(?:(?P<bind>[^/]+)/)?[0-9]+(?:/(?P<host>[^/]+)/[0-9]+)?")


@dataclass(frozen=True, slots=True)
class ListenAt:
    """Where a forward listens: a Unix socket at ``path``, or ``port`` of ``host``.

    ``host`` is None when it was not said or said to be ``localhost``, ``*`` for every interface, else an address or a
    name. Port 0 is any free one.
    """

    host: str | None = None
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return _path_text(self.path)
        return str(self.port) if self.host is None else f"{bracketed(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class ForwardSpec:
    """One forward. ``target`` None: wherever each connection says by SOCKS. ``str()`` is what is typed after ``-L``."""

    kind: ForwardKind
    listen: ListenAt
    target: SocketSpec | None

    def __str__(self) -> str:
        return str(self.listen) if self.target is None else f"{self.listen}:{target_text(self.target)}"


class ForwardSpecError(IroshError):
    """What is wrong with the text of a forward, and at which character, counted from 0."""

    def __init__(self, option: str, text: str, column: int, message: str, hint: str = "") -> None:
        super().__init__(
            ErrorCode.INVALID_ADDRESS, f"-{option} {escape(text, 200)}: character {column + 1}: {message}", hint
        )
        self.text = text
        self.column = column

    def pointed(self) -> str:
        """Two lines: the text, and a caret below the character."""
        before = escape(self.text[: self.column], 4 * _LONGEST)
        return f"{escape(self.text, 4 * _LONGEST)}\n{' ' * len(before)}^"


def parse_forward(
    kind: ForwardKind, text: str, *, directory: str, service_port: ServicePort = lambda _name: None
) -> ForwardSpec:
    """Read what was typed after ``-L``, ``-R`` or ``-D``. Relative paths of this side are below ``directory``.

    Raises :class:`ForwardSpecError`.
    """
    return _Parser(kind, text, directory, service_port).forward(kind)


def parse_listen_part(
    kind: ForwardKind, text: str, *, directory: str, service_port: ServicePort = lambda _name: None
) -> ListenAt:
    """Read ``[bind_address:]port`` or a path, as ``-KL`` of ssh's escape command line takes it."""
    return _Parser(kind, text, directory, service_port).listen_only(kind)


def parse_stdio_target(text: str, *, service_port: ServicePort = lambda _name: None) -> SocketSpec:
    """Read ``host:port`` or a path, as after ``-W``."""
    return _Parser("W", text, "/", service_port).stdio()


def listen_hosts(host: str | None) -> tuple[str, ...]:
    """The addresses that ``host`` of a :class:`ListenAt` stands for: loopback and every interface are two each."""
    if host is None:
        return ("127.0.0.1", "::1")
    return ("0.0.0.0", "::") if host == EVERY_INTERFACE else (host,)  # noqa: S104 - what a person asks for by "*"


def target_text(target: SocketSpec) -> str:
    """``target`` as it is written at the end of a forward."""
    return _path_text(target.path) if target.protocol == "unix" else f"{bracketed(target.host)}:{target.port}"


def _path_text(path: str) -> str:
    """``path`` as a field: a colon would end it."""
    return path.replace("\\", r"\\").replace(":", r"\:")


@dataclass(frozen=True, slots=True)
class _Field:
    """``columns`` has the place of each character, and of the field's end."""

    text: str
    columns: tuple[int, ...]
    literal: bool

    @property
    def is_path(self) -> bool:
        return "/" in self.text

    @property
    def start(self) -> int:
        return self.columns[0]


class _Parser:
    def __init__(self, option: str, text: str, directory: str, service_port: ServicePort) -> None:
        self._option = option
        self._text = text
        self._directory = directory
        self._service_port = service_port
        if not text:
            raise self._error(0, "it is empty", self._usage())
        if len(text) > _LONGEST:
            raise ForwardSpecError(option, text[:60] + "…", _LONGEST, f"it is longer than {_LONGEST} characters")
        self._fields = self._split()

    # -- the three shapes

    def forward(self, kind: ForwardKind) -> ForwardSpec:
        fields = self._fields
        listening = self._listen_fields(fields)
        rest = fields[listening:]
        if kind == "D" and rest:
            raise self._error(
                rest[0].start, "-D takes no target: each connection says by SOCKS where to", self._usage()
            )
        if kind == "L" and not rest:
            raise self._error(len(self._text), "it does not say where to", self._usage())
        listen = self._listen(kind, fields[:listening])
        return ForwardSpec(kind, listen, self._target(rest, ours=kind == "R") if rest else None)

    def listen_only(self, kind: ForwardKind) -> ListenAt:
        listening = self._listen_fields(self._fields)
        if len(self._fields) > listening:
            raise self._error(self._fields[listening].start, "too much: only where it listens belongs here")
        return self._listen(kind, self._fields)

    def stdio(self) -> SocketSpec:
        return self._target(self._fields, ours=False)

    def _listen_fields(self, fields: list[_Field]) -> int:
        """How many of the fields say where to listen: what follows is one path, or a host and a port."""
        if fields[0].is_path or len(fields) == 1:
            return 1
        if len(fields) == 2:
            host_alone = self._option == "L" and fields[0].text.isdecimal()  # the likelier of two mistakes
            return 1 if fields[1].is_path or host_alone else 2
        if len(fields) == 3:
            return 2 if fields[2].is_path else 1
        return 2

    # -- its parts

    def _listen(self, kind: ForwardKind, fields: list[_Field]) -> ListenAt:
        if fields[0].is_path:
            return ListenAt(path=self._path(fields[0], ours=kind != "R"))
        port = self._port(fields[-1], least=0)
        if len(fields) == 1:
            return ListenAt(port=port)
        bind = fields[0]
        if bind.text in ("", EVERY_INTERFACE):
            return ListenAt(EVERY_INTERFACE, port)
        host = self._host(bind)
        return ListenAt(None if host == "localhost" else host, port)

    def _target(self, fields: list[_Field], *, ours: bool) -> SocketSpec:
        first = fields[0]
        if first.is_path:
            if len(fields) > 1:
                raise self._error(fields[1].start, "nothing can follow the path of a socket", self._usage())
            return SocketSpec("unix", path=self._path(first, ours=ours))
        if len(fields) == 1:
            raise self._error(first.columns[-1], "there is no port behind the host", self._usage())
        if len(fields) > 2:
            raise self._error(fields[2].start, "too many fields", self._brackets_hint())
        return SocketSpec("tcp", self._host(first), self._port(fields[1], least=1))

    def _host(self, field: _Field) -> str:
        if not field.text:
            raise self._error(field.start, "the host is missing", "localhost is the machine that connects")
        literal = field.literal and parse_ip(field.text) is not None and ":" in field.text
        try:
            # OpenSSH takes whatever is in brackets; those of an IPv6 address tell it from a name.
            return parse_host(f"[{field.text}]" if literal or ":" in field.text else field.text)
        except Fault as fault:
            raise self._error(field.start, fault.message, fault.hint) from None

    def _port(self, field: _Field, *, least: int) -> int:
        text = field.text
        if not text:
            raise self._error(field.start, "the port is missing", self._brackets_hint())
        if text.isascii() and text.isdecimal():
            if not least <= int(text[:10]) <= 65_535:
                raise self._error(field.start, f"port {escape(text, 20)} is out of range", f"{least} to 65535")
            return int(text)
        named = self._service_port(text)
        if named is not None and least <= named <= 65_535:
            return named
        at = next(index for index, char in enumerate(text) if not (char.isascii() and char.isdecimal()))
        raise self._error(field.columns[at], f"{quoted(text)} is not a port", self._brackets_hint() or "1 to 65535")

    def _path(self, field: _Field, *, ours: bool) -> str:
        text = posixpath.normpath(posixpath.join(self._directory, field.text)) if ours else field.text
        if ours and field.text.endswith("/"):
            text += "/"
        try:
            return parse_path(text)
        except Fault as fault:
            hint = "" if fault.hint.startswith("write unix:") else fault.hint
            raise self._error(field.start, fault.message, hint) from None

    # -- cutting it up

    def _split(self) -> list[_Field]:
        text = self._text
        if self._has_slashes():
            return self._slashed()
        fields = []
        position = 0
        while True:
            field, position = (
                self._bracketed(position) if text[position : position + 1] == "[" else self._bare(position)
            )
            fields.append(field)
            if position >= len(text):
                break
            position += 1  # the colon
            if len(fields) == 4:
                raise self._error(position, "too many fields", self._brackets_hint(fields))
        return fields

    def _has_slashes(self) -> bool:
        """Whether it is ``bind/port/host/hostport``, or ``bind/port`` with an IPv6 address, and not a path."""
        match = _SLASHES.fullmatch(self._text)
        if match is None:
            return False
        bind, host = match["bind"], match["host"]
        if any(part is not None and ":" in part and parse_ip(part) is None for part in (bind, host)):
            return False
        return self._option != "D" if host is not None else bind is not None and ":" in bind

    def _slashed(self) -> list[_Field]:
        fields = []
        position = 0
        for part in self._text.split("/"):
            fields.append(_Field(part, tuple(range(position, position + len(part) + 1)), True))
            position += len(part) + 1
        return fields

    def _bracketed(self, position: int) -> tuple[_Field, int]:
        end = self._text.find("]", position)
        if end < 0:
            raise self._error(position, "the bracket '[' is not closed", "write an IPv6 address like [::1]")
        if self._text[end + 1 : end + 2] not in ("", ":"):
            raise self._error(end + 1, "only ':' can follow ']'")
        return _Field(self._text[position + 1 : end], tuple(range(position + 1, end + 1)), True), end + 1

    def _bare(self, position: int) -> tuple[_Field, int]:
        text, chars, columns = self._text, [], []
        while position < len(text) and text[position] != ":":
            if text[position] == "\\":
                position += 1
                if position == len(text):
                    raise self._error(position - 1, "nothing follows the backslash")
            chars.append(text[position])
            columns.append(position)
            position += 1
        return _Field("".join(chars), (*columns, position), False), position

    # -- messages

    def _error(self, column: int, message: str, hint: str = "") -> ForwardSpecError:
        return ForwardSpecError(self._option, self._text, column, message, hint)

    def _brackets_hint(self, fields: list[_Field] | None = None) -> str:
        fields = self._fields if fields is None else fields
        empty = "" in [field.text for field in fields[1:]]
        return "put an IPv6 address in brackets, like [::1]" if empty else ""

    def _usage(self) -> str:
        match self._option:
            case "D":
                return "-D [bind_address:]port"
            case "W":
                return "-W host:port"
            case "R":
                return "-R [bind_address:]port:host:hostport, or -R [bind_address:]port for SOCKS"
        return f"-{self._option} [bind_address:]port:host:hostport"
