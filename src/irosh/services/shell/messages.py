"""What opens a stream of the shell service, and what attached commands ask of it."""

from __future__ import annotations

import msgspec

from irosh.node.targets import TargetRequest

MAX_LOGIN_KEYS = 256


class ShellRequest(msgspec.Struct, omit_defaults=True):
    """``key_auth``: the client will prove its identity to SSH too; a stock client leaves that to the transport.

    ``login_keys``: SHA-256 digests of public keys, one of which the client has to prove instead. The opener asks for
    this where it does not know who uses the stream: a port that others can reach.
    """

    key_auth: bool = False
    login_keys: tuple[bytes, ...] = ()


class ConnectRequest(TargetRequest, kw_only=True):
    """Operation ``connect``: a shell (``command`` None) or a command, on a terminal (``terminal``: TERM) or on pipes.

    ``size``: columns, rows, width and height in pixels. ``modes``: terminal modes by opcode (RFC 4254, section 8).
    """

    user: str | None = None
    command: str | None = None
    terminal: str | None = None
    size: tuple[int, int, int, int] = (80, 24, 0, 0)
    modes: dict[int, int] = msgspec.field(default_factory=dict)
    env: dict[str, str] = msgspec.field(default_factory=dict)


class PortRequest(TargetRequest, kw_only=True):
    """Operation ``proxy.listen``: a local port that is the peer's SSH server.

    ``login_keys``: in hexadecimal, as in :class:`ShellRequest`; None: only programs of this user are served.
    """

    listen: str
    login_keys: list[str] | None = None
