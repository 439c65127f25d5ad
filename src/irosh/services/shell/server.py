"""The host's side of SSH: authentication by identity, sessions and forwards under the peer's capabilities."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import asyncssh

from irosh.core.capability import parse_source
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.second_factor import Factor
from irosh.core.socket_spec import SocketSpec
from irosh.core.terms import Terms
from irosh.node.accounts import Account, accepted_environment, find_account, is_own_account
from irosh.node.authorization import Action, AsUser, Files, Grant, Immediate, Reach, Use
from irosh.services.shell.agent_forwarding import SessionAgent, forward_agent, served_agent
from irosh.services.shell.agent_socket import OpenAgent
from irosh.services.shell.channel_stream import ChannelStream
from irosh.services.shell.descriptors import read_descriptor, write_descriptor
from irosh.services.shell.listening import Listeners
from irosh.services.shell.onward import PEER_DOMAIN, Way, way_to_server
from irosh.services.shell.processes import SessionProcess, Terminal, start_process, start_program
from irosh.services.shell.ssh_factors import Challenge, SSHFactors, hold_back_success
from irosh.services.shell.subsystems import HostProgram, Subsystems
from irosh.transport.asyncio_transport import StreamTransport
from irosh.transport.tasks import to_the_end

log = logging.getLogger(__name__)

MAX_SESSIONS = 256  # of one SSH connection
MAX_INPUT = 256 * 1024  # bytes of a session's input that may wait for its process
_CANNOT_START = 127


@dataclass
class SSHContext:
    """What the SSH server of one stream knows of its peer."""

    petname: str
    authorize: Callable[[Action], Awaitable[Grant]]
    authorize_now: Callable[[Immediate], Grant]
    group: asyncio.TaskGroup
    transport: Callable[[], StreamTransport | None]
    environment: Mapping[str, str]
    permits: Callable[[Immediate], bool]
    subsystems: Subsystems
    program_place: Callable[[], AbstractContextManager[None]]
    lead_on: Callable[[str], Awaitable[Way]] | None = None
    """Finds a way to the peer of that name or id."""
    terms: Callable[[], Terms | None] = lambda: None
    """What the peer has to heed besides its capabilities; raises ``IroshError``."""
    sessions: dict[Callable[[], None], None] = field(default_factory=dict)
    """How to end each session that runs."""


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
        forward_agent(self._connection, chan, session.agent_requested)
        return chan, session

    async def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Any:
        """``ssh -L``, ``-W`` and ``-J`` of any client, under the same capabilities as a tunnel, a jump, a gateway."""
        assert self._connection is not None
        if dest_host.lower().endswith(PEER_DOMAIN):
            return await self._lead_on(dest_host[: -len(PEER_DOMAIN)])
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
        return await self._connection.forward_unix_connection(path)

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


class ServerSession(asyncssh.SSHServerSession[bytes]):
    """One session channel: a shell or a command, on a terminal or on pipes."""

    def __init__(self, context: SSHContext, account: Account) -> None:
        self._context = context
        self._account = account
        self._terminal: Terminal | None = None
        self._command: str | None = None
        self._terms: Terms | None = None
        self._program: Sequence[str] | None = None
        self._refusal = ""
        self._process: SessionProcess | None = None
        self._input: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._waiting = 0
        self._writable = asyncio.Event()
        self._writable.set()
        self._task: asyncio.Task[None] | None = None
        self._agent: SessionAgent | None = None

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._chan = chan

    def end(self) -> None:
        """End it at once."""
        self._chan.abort()

    def agent_requested(self, open_agent: OpenAgent) -> bool:
        """The client offers its agent: once for a session, under a capability of its own."""
        if self._agent is None and self._allowed(Use(("agent",))):
            self._agent = SessionAgent.make(self._account, open_agent)
        return self._agent is not None

    def pty_requested(
        self, term_type: str, term_size: tuple[int, int, int, int], term_modes: Mapping[int, int]
    ) -> bool:
        try:
            terms = self._context.terms()
        except IroshError:
            return False
        if terms is not None and not terms.pty:
            return False
        self._terminal = Terminal(term_type[:64], term_size, dict(term_modes))
        return True

    def shell_requested(self) -> bool:
        return self._allowed(Use(("shell",), heeds_terms=True))

    def exec_requested(self, command: str) -> bool:
        self._command = command
        use = Use(("exec",), heeds_terms=True)
        if not self._context.permits(use) and self._served_by(self._context.subsystems.standing_in_for(command)):
            return True
        return self._allowed(use)

    def subsystem_requested(self, subsystem: str) -> bool:
        return self._served_by(self._context.subsystems.named(subsystem))

    def _allowed(self, use: Use) -> bool:
        try:
            self._terms = self._context.authorize_now(use).terms
        except IroshError:
            return False
        return True

    def _served_by(self, program: HostProgram | None) -> bool:
        """Whether ``program`` will serve this session, in place of a shell or a command."""
        if program is None:
            return False
        try:
            action = program.action
            if isinstance(action, Files):
                action = replace(action, heeds_terms=True)  # it acts as the account of this login
            grant = self._context.authorize_now(action)
        except IroshError:
            return False
        client_version = str(self._chan.get_extra_info("client_version", ""))
        self._refusal = program.refusal
        self._program = program.arguments(grant, self._account, client_version)
        return True

    def session_started(self) -> None:
        self._context.sessions[self.end] = None
        self._task = self._context.group.create_task(self._run())

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self._waiting += len(data)
        self._input.put_nowait(data)
        if self._waiting > MAX_INPUT:
            self._chan.pause_reading()

    def eof_received(self) -> bool:
        self._input.put_nowait(None)
        return True  # output may follow

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        if self._process is not None:
            self._process.resize((width, height, pixwidth, pixheight))

    def signal_received(self, signal: str) -> None:
        number = _signal_number(signal)
        if self._process is not None and number is not None:
            self._process.send_signal(number)

    def break_received(self, msec: int) -> bool:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._writable.set()
        if self._task is not None:
            self._task.cancel()
        elif self._agent is not None:
            self._agent.close()  # nothing was run with it

    # -- the life of the process

    async def _run(self) -> None:
        async with served_agent(self._agent):
            await self._run_process()

    async def _run_process(self) -> None:
        try:
            with ExitStack() as places:
                try:
                    process = await self._start(places)
                except IroshError as error:
                    self._chan.write_stderr(f"irosh: {error}\n".encode())
                    self._chan.exit(_CANNOT_START)
                    return
                self._process = process
                feeder = asyncio.create_task(self._feed(process))
                try:
                    await self._serve(process)
                finally:
                    # The lost channel and the ending connection both cancel this task, one maybe during the other.
                    await to_the_end(_end(process, feeder))
        finally:
            self._context.sessions.pop(self.end, None)

    async def _start(self, places: ExitStack) -> SessionProcess:
        if self._refusal:
            raise IroshError(ErrorCode.DENIED, self._refusal)
        if self._program is not None:
            places.enter_context(self._context.program_place())
            return await start_program(self._program)
        return await start_process(self._account, self._forced(self._command), self._terminal, self._environment())

    async def _serve(self, process: SessionProcess) -> None:
        outputs = [asyncio.create_task(self._copy(process.stdout, None))]
        if process.stderr is not None:
            outputs.append(asyncio.create_task(self._copy(process.stderr, asyncssh.EXTENDED_DATA_STDERR)))
        try:
            status = await process.wait()
            # As sshd: a command on pipes ends when all who hold them have; on a terminal with its shell.
            await asyncio.wait(outputs, timeout=_TERMINAL_DRAIN if process.on_terminal else None)
        finally:
            for output in outputs:
                output.cancel()
            await asyncio.gather(*outputs, return_exceptions=True)
        if status >= 0:
            self._chan.exit(status)
        else:
            self._chan.exit_with_signal(_signal_name(-status))

    async def _copy(self, descriptor: int, datatype: int | None) -> None:
        while data := await read_descriptor(descriptor):
            self._chan.write(data, datatype)
            # The channel's window and the stream's buffer both hold back a process that writes faster.
            await self._writable.wait()
            if (transport := self._context.transport()) is not None:
                await transport.drained()

    async def _feed(self, process: SessionProcess) -> None:
        while (data := await self._input.get()) is not None:
            if process.stdin is None:
                continue
            try:
                await write_descriptor(process.stdin, data)
            except OSError:
                process.close_stdin()  # the program does not read; what comes is dropped, as a pipe's would be
            self._waiting -= len(data)
            if self._waiting <= MAX_INPUT // 2:
                self._chan.resume_reading()
        process.close_stdin()

    def _environment(self) -> dict[str, str]:
        accepted = accepted_environment(self._chan.get_environment())
        given = {} if self._terms is None else dict(self._terms.environment)
        if self._command is not None and self._forced(None) is not None:
            given["SSH_ORIGINAL_COMMAND"] = self._command
        agent = {} if self._agent is None else {"SSH_AUTH_SOCK": self._agent.path}
        return {**accepted, **given, **self._context.environment, **agent}

    def _forced(self, command: str | None) -> str | None:
        """What runs in place of ``command``, where something has to; else ``command``."""
        return command if self._terms is None or self._terms.command is None else self._terms.command


async def _end(process: SessionProcess, feeder: asyncio.Task[None]) -> None:
    feeder.cancel()
    await asyncio.gather(feeder, return_exceptions=True)
    await process.end()


_TERMINAL_DRAIN = 0.5  # seconds for what a shell printed last; background jobs may hold its terminal open for ever


def _signal_number(name: str) -> int | None:
    try:
        return signal.Signals[f"SIG{name}"]
    except KeyError:
        return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)
