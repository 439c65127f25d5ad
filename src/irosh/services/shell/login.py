"""Logging in to a node by SSH: its host key has to be its identity, and ours is our user key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncssh

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity, openssh_public_key_of
from irosh.core.wording import escape
from irosh.node.accounts import DEFAULT_USER
from irosh.services.shell.agent_forwarding import NO_AGENT, offer_agent
from irosh.services.shell.ignored_packets import send_no_ignored
from irosh.transport.asyncio_transport import StreamTunnel
from irosh.transport.interfaces import ByteStream, Stream

LOGIN_DEADLINE = 30.0
ASKING_DEADLINE = 120.0  # where a person has to answer, as sshd's LoginGraceTime
MAX_BANNER = 500
# Inside an encrypted stream the quickest cipher is enough; measured, see docs.
CIPHERS = ("aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com")
# For other people's clients that know no newer ones (paramiko before 3.5, older libssh2).
OLD_CIPHERS = ("aes128-ctr", "aes256-ctr")

ServeAgent = Callable[[Stream], None]
"""Gets each way to our agent that the host opens."""


@dataclass
class SSHLink:
    """An SSH connection to a host, and what it runs over."""

    connection: asyncssh.SSHClientConnection
    tunnel: StreamTunnel

    @property
    def alive(self) -> bool:
        """Whether it can be used."""
        return not self.connection.is_closed()

    async def aclose(self) -> None:
        """End it at once."""
        self.connection.abort()
        await self.tunnel.aclose()


@asynccontextmanager
async def tunnel_over(stream: ByteStream) -> AsyncIterator[StreamTunnel]:
    """``stream`` for AsyncSSH. It ends when what is done in the block fails."""
    tunnel = StreamTunnel(stream)
    try:
        yield tunnel
    except BaseException:
        await tunnel.aclose()
        raise


async def log_in(
    identity: Identity, stream: ByteStream, peer_id: str, user: str, serve_agent: ServeAgent | None = None
) -> SSHLink:
    """Log in to the node ``peer_id`` at the other end of ``stream``, which ends with the link, or on failure.

    ``serve_agent``: offer an agent to the host's sessions. ``IroshError``: denied, timeout, identity-mismatch, …
    """
    host_key = asyncssh.import_public_key(openssh_public_key_of(peer_id))
    banner = _Banner()
    async with tunnel_over(stream) as tunnel:
        try:
            async with asyncio.timeout(LOGIN_DEADLINE):
                ssh = await asyncssh.connect(
                    "peer",
                    tunnel=tunnel,
                    client_factory=lambda: banner,
                    config=None,
                    username=user,
                    known_hosts=([host_key], [], []),
                    client_keys=[asyncssh.import_private_key(identity.openssh_private_key())],
                    agent_path=None,
                    agent_forwarding=False if serve_agent is None else NO_AGENT,
                    gss_host=None,
                    preferred_auth=("none", "publickey"),
                    encryption_algs=CIPHERS,
                    compression_algs=("none",),
                    rekey_bytes=1 << 40,
                    keepalive_interval=0,
                )
        except TimeoutError:
            raise IroshError(ErrorCode.TIMEOUT, "the peer's shell service does not answer") from None
        except asyncssh.PermissionDenied:
            raise _user_denied(user, banner.text) from None
        except asyncssh.HostKeyNotVerifiable:
            raise IroshError(
                ErrorCode.IDENTITY_MISMATCH, "the peer's SSH host key is not its identity; nothing was sent to it"
            ) from None
        except (asyncssh.Error, OSError) as error:
            raise IroshError(ErrorCode.CONNECTION_LOST, f"the peer's shell service failed: {error}") from None
        send_no_ignored(ssh)
        if serve_agent is not None:
            offer_agent(ssh, serve_agent)
        return SSHLink(ssh, tunnel)


class _Banner(asyncssh.SSHClient):
    """Keeps what the host says about a login that it refuses."""

    def __init__(self) -> None:
        self.text = ""

    def auth_banner_received(self, msg: str, lang: str) -> None:
        self.text = msg.strip().removeprefix("irosh: ")[:MAX_BANNER]


def _user_denied(user: str, said: str) -> IroshError:
    if said and user == DEFAULT_USER:
        return IroshError(ErrorCode.DENIED, f"the host refused the login: {escape(said, MAX_BANNER)}")
    if user == DEFAULT_USER:
        return IroshError(ErrorCode.DENIED, "the host refused the login")
    return IroshError(
        ErrorCode.DENIED,
        f"the host does not let you be {user}",
        f"it must run as root and allow you: irosh peer allow NAME user:{user}; or leave out {user}@",
    )
