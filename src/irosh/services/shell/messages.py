"""What opens a stream of the shell service, and what attached commands ask of it."""

from __future__ import annotations

import msgspec

from irosh.core.hops import gateway_name
from irosh.core.peer import ForwardAgent
from irosh.core.ssh_url import is_ssh_url
from irosh.node.targets import TargetRequest

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


class JumpRequest(msgspec.Struct, omit_defaults=True):
    """Asks a node to lead on: to the SSH service of its peer with the id ``peer``, or to the SSH server at ``server``.

    ``server``: an address as text, ``tcp://HOST:PORT``.
    """

    peer: str | None = None
    server: str | None = None

    @property
    def summary(self) -> str:
        """What the stream is for, as ``irosh status`` shows it."""
        return self.server or (self.peer or "")[:10]


class ThroughRequest(TargetRequest, kw_only=True):
    """What operations have that can go through other machines: ``jump`` are the hops on the way to the target.

    The target may be an ``ssh://`` URL too. ``accept_new``: trust a machine whose host key is not known yet without
    asking. ``agent_socket``: the ssh-agent of whoever runs the command. ``answers``: somebody answers questions.
    """

    jump: tuple[str, ...] = ()
    accept_new: bool = False
    agent_socket: str | None = None
    answers: bool = False


def goes_through(request: ThroughRequest) -> bool:
    """Whether the target is reached in another way than by a link of this node's own."""
    return bool(request.jump) or is_ssh_url(request.target) or gateway_name(request.target) is not None


class ConnectRequest(ThroughRequest, kw_only=True):
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


class WayRequest(ThroughRequest, kw_only=True):
    """What operations about forwards have, of a way through other machines."""

    user: str | None = None


class ProxyRequest(ThroughRequest, kw_only=True):
    """Operation ``proxy``. ``on_behalf``: what comes is not from this node's user; see :class:`ShellRequest`."""

    on_behalf: bool = False


class PortRequest(TargetRequest, kw_only=True):
    """Operation ``proxy.listen``: a local port that is the peer's SSH server.

    ``login_keys``: in hexadecimal, as in :class:`ShellRequest`; None: only programs of this user are served.
    """

    listen: str
    login_keys: list[str] | None = None
