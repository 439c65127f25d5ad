"""What opens a stream of the shell service, and what attached commands ask of it."""

from __future__ import annotations

import msgspec

from irosh.core.hops import gateway_name
from irosh.core.peer import ForwardAgent
from irosh.core.ssh_url import is_ssh_url
from irosh.node.target_request import TargetRequest

MAX_LOGIN_KEYS = 256


class ShellRequest(msgspec.Struct, omit_defaults=True):
    """``key_auth``: the client will prove its identity to SSH too; a stock client leaves that to the transport.

    ``login_keys``: SHA-256 digests of public keys, one of which the client has to prove instead. The opener asks for
    this where it does not know who uses the stream: a port that others can reach.

    ``agent``: the client will offer its ssh-agent; said here so that a refusal is heard.

    ``on_behalf``: the stream is for somebody whom the opener only brings, and for whom it does not vouch. SSH has to
    find out which peer that is, and what that peer may do counts.
    """

    key_auth: bool = False
    login_keys: tuple[bytes, ...] = ()
    agent: bool = False
    on_behalf: bool = False


class GuestRequest(msgspec.Struct):
    """The stream is for a node that the opener only brings, and for which it does not vouch.

    It carries the packets of a connection with that node; see :mod:`irosh.transport.packet_batches`.
    """


class JumpRequest(msgspec.Struct, omit_defaults=True):
    """Asks a node to lead on: to its peer with the id ``peer``, for a link with it, or to the SSH server at ``server``.

    ``server``: an address as text, ``tcp://HOST:PORT``.
    """

    peer: str | None = None
    server: str | None = None

    @property
    def summary(self) -> str:
        """What the stream is for, as ``irosh status`` shows it."""
        return self.server or (self.peer or "")[:10]


def is_plain(request: TargetRequest) -> bool:
    """Whether the target is an ordinary SSH server, to which there can be no link: by its URL, or a gateway's name."""
    return is_ssh_url(request.target) or gateway_name(request.target) is not None


class ConnectRequest(TargetRequest, kw_only=True):
    """Operation ``connect``: a shell (``command`` None) or a command, on a terminal (``terminal``: TERM) or on pipes.

    ``forward_agent``: offer the agent to the host; with ``confirm`` the person is asked before each use of a key. None:
    as is set for the peer.

    ``size``: columns, rows, width and height in pixels. ``modes``: terminal modes by opcode (RFC 4254, section 8).
    """

    user: str | None = None
    command: str | None = None
    forward_agent: ForwardAgent | None = None
    terminal: str | None = None
    size: tuple[int, int, int, int] = (80, 24, 0, 0)
    modes: dict[int, int] = msgspec.field(default_factory=dict)
    env: dict[str, str] = msgspec.field(default_factory=dict)


class WayRequest(TargetRequest, kw_only=True):
    """What operations about forwards have, of a way to an ordinary SSH server."""

    user: str | None = None


class ProxyRequest(TargetRequest, kw_only=True):
    """Operation ``proxy``. ``on_behalf``: what comes is the link of another node; see :class:`GuestRequest`."""

    on_behalf: bool = False


class PortRequest(TargetRequest, kw_only=True):
    """Operation ``proxy.listen``: a local port that is the peer's SSH server.

    ``login_keys``: in hexadecimal, as in :class:`ShellRequest`; None: only programs of this user are served.
    """

    listen: str
    login_keys: list[str] | None = None
