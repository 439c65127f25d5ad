"""The host's side of SSH: authentication by identity, sessions and forwards under the peer's capabilities."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncssh

from irosh.core.capability import parse_source
from irosh.core.errors import ErrorCode, IroshError, system_message
from irosh.core.petname import DOMAIN
from irosh.core.second_factor import Factor
from irosh.core.socket_spec import SocketSpec
from irosh.node.accounts import Account, find_account, is_own_account
from irosh.node.actions import AsUser, Reach, Use
from irosh.services.shell.agent_forwarding import forward_agent
from irosh.services.shell.channel_closing import end_when_closed
from irosh.services.shell.channel_stream import ChannelStream
from irosh.services.shell.listening import Listeners
from irosh.services.shell.onward import Way, way_to_server
from irosh.services.shell.server_session import ServerSession
from irosh.services.shell.ssh_context import SSHContext
from irosh.services.shell.ssh_factors import Challenge, SSHFactors, hold_back_success
from irosh.services.shell.ssh_limits import limit_connection, limit_environment
from irosh.transport.unix_sockets import without_links

log = logging.getLogger(__name__)

MAX_SESSIONS = 256  # of one SSH connection


class IroshSSHServer(asyncssh.SSHServer):
    """Authenticates the peer, whom QUIC has proven already, and opens its channels.

    ``login_key``: which keys SSH asks for besides; None: for none, as a stock client of the peer itself needs none.
    ``factors``: what is asked for in any case; None: the login is another matter.
    """

    def __init__(
        self, context: SSHContext, login_key: Callable[[asyncssh.SSHKey], bool] | None, factors: SSHFactors | None
    ) -> None:
        self._context = context
        self._login_key = login_key
        self._offered: asyncssh.SSHKey | None = None
        self._factors = factors
        self._account: Account | None = None
        self._is_own_account = False
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        limit_connection(conn)
        if self._factors is not None:
            hold_back_success(conn, self._check_method, self._is_authenticated)
        # Asked anew each time: who a guest is turns out later.
        self._listeners = Listeners(conn, lambda action: self._context.authorize(action), self._context.group)

    def connection_lost(self, exc: Exception | None) -> None:
        self._listeners.close()

    def begin_auth(self, username: str) -> bool:
        """Whether SSH has anything left to ask for. Called again when the client asks for another user."""
        self._account = None
        try:
            self._is_own_account = is_own_account(username)
            self._context.authorize_now(AsUser(username, entering=True, own=self._is_own_account))
            self._account = find_account(username)
        except IroshError as error:
            log.info("%s: user refused: %s", self._context.petname, error.message)
            self._say(str(error))
            return True  # and nothing is accepted
        return not self._is_authenticated()

    def public_key_auth_supported(self) -> bool:
        if self._account is None or self._login_key is not None or self._factors is None:
            return True
        return Factor.SECURITY_KEY in self._factors.missing

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        if self._account is None:
            return False
        if self._login_key is not None and self._login_key(key):
            self._offered = key
            return True
        self._offered = None
        return self._factors is not None and self._factors.takes_key(key)

    def kbdint_auth_supported(self) -> bool:
        return self._account is not None and self._factors is not None and self._factors.asks

    async def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Challenge | bool:
        self._offered = None
        return False if self._factors is None else await self._factors.challenge(self._say)

    async def validate_kbdint_response(self, username: str, responses: Sequence[str]) -> Challenge | bool:
        return False if self._factors is None else await self._factors.answered(responses, self._say)

    async def _check_method(self) -> bool:
        """A method has succeeded: note what it was about. False when its signature is not accepted after all."""
        if self._offered is not None:
            self._login_key = None  # given
            return True
        return self._factors is not None and await self._factors.check_signature(self._say)

    def _is_authenticated(self) -> bool:
        missing = () if self._factors is None else self._factors.missing
        return self._account is not None and self._login_key is None and not missing

    def _say(self, text: str) -> None:
        assert self._connection is not None
        self._connection.send_auth_banner(f"irosh: {text}\r\n")

    def session_requested(self) -> Any:
        if self._account is None or len(self._context.sessions) >= MAX_SESSIONS:
            return False
        assert self._connection is not None
        session = ServerSession(self._context, self._account)
        chan = self._connection.create_server_channel(encoding=None)
        end_when_closed(chan)
        limit_environment(chan)
        forward_agent(self._connection, chan, session.agent_requested)
        return chan, session

    async def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Any:
        """``ssh -L``, ``-W`` and ``-J`` of any client, under the same capabilities as a tunnel, a jump, a gateway."""
        assert self._connection is not None
        if dest_host.lower().endswith(DOMAIN):
            return await self._lead_on(dest_host[: -len(DOMAIN)])
        spec = SocketSpec("tcp", host=dest_host, port=dest_port)
        try:
            addresses = await self._granted(spec, checked_by=parse_source)
        except asyncssh.ChannelOpenError as refusal:
            if refusal.code != asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
                raise
            return await self._gateway(spec, refusal)
        failure: asyncssh.ChannelOpenError | None = None
        for address in addresses:
            try:
                return await self._connection.forward_connection(address, dest_port)
            except asyncssh.ChannelOpenError as error:
                failure = error
        assert failure is not None
        raise failure

    async def unix_connection_requested(self, dest_path: str) -> Any:
        assert self._connection is not None
        (path,) = await self._granted(SocketSpec("unix", path=dest_path), checked_by=parse_source)
        try:
            with without_links(path) as target:
                return await self._connection.forward_unix_connection(target)
        except OSError as error:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, system_message(error)) from None

    async def _lead_on(self, name: str) -> ChannelStream:
        if self._context.lead_on is None:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "this host leads nobody on")
        try:
            self._context.authorize_now(Use(("jump",)))
            way = await self._context.lead_on(name)
        except IroshError as error:
            raise _open_error(error) from None
        return self._carried(way)

    async def _gateway(self, spec: SocketSpec, refusal: asyncssh.ChannelOpenError) -> ChannelStream:
        """To an SSH server that this host is a gateway to; ``refusal`` is the answer when it is none."""
        try:
            grant = await self._context.authorize(Reach("gateway", parse_source(str(spec))))
        except IroshError:
            raise refusal from None
        try:
            return self._carried(await way_to_server(spec, grant.addresses))
        except IroshError as error:
            raise _open_error(error) from None

    def _carried(self, way: Way) -> ChannelStream:
        channel = ChannelStream()
        self._context.group.create_task(way.carry(channel))
        return channel

    async def server_requested(self, listen_host: str, listen_port: int) -> Any:
        """``ssh -R`` of a stock client."""
        return await self._listening(self._listeners.listen_tcp(listen_host, listen_port))

    async def unix_server_requested(self, listen_path: str) -> Any:
        """The same at a Unix socket, which would belong to the host's own user: for that account only."""
        if not self._is_own_account:
            log.info("%s: a Unix socket for another account is refused", self._context.petname)
            return False
        return await self._listening(self._listeners.listen_unix(listen_path))

    async def _listening(self, listener: Awaitable[asyncssh.SSHListener]) -> asyncssh.SSHListener | bool:
        """SSH has no words for a reason; `ssh -v` shows it."""
        try:
            return await listener
        except IroshError as error:
            log.info("%s: does not listen: %s", self._context.petname, error.message)
            assert self._connection is not None
            self._connection.send_debug(f"irosh: {error}")
            return False

    async def _granted(self, spec: SocketSpec, *, checked_by: Callable[[str], SocketSpec]) -> tuple[str, ...]:
        """The addresses the policy grants; the client's text goes through the same parser as everybody's."""
        try:
            return (await self._context.authorize(Reach("forward", checked_by(str(spec))))).addresses
        except IroshError as error:
            raise _open_error(error) from None


def _open_error(error: IroshError) -> asyncssh.ChannelOpenError:
    """Why a channel is not opened, as SSH says it."""
    denied = error.code is ErrorCode.DENIED
    code = asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED if denied else asyncssh.OPEN_CONNECT_FAILED
    return asyncssh.ChannelOpenError(code, error.message)
