"""One session on the host: a shell, a command or a subsystem, on a terminal or on pipes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncssh

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.terms import Terms
from irosh.node.accounts import Account, accepted_environment
from irosh.node.actions import MAY_SHARE, Files, Use
from irosh.services.shell.adoption import HANDLE, Adopted
from irosh.services.shell.agent_forwarding import SessionAgent, served_agent
from irosh.services.shell.agent_socket import OpenAgent
from irosh.services.shell.descriptors import read_descriptor, write_descriptor
from irosh.services.shell.processes import SessionProcess, Terminal, start_process, start_program
from irosh.services.shell.ssh_context import SSHContext
from irosh.services.shell.subsystems import HostProgram
from irosh.transport.tasks import to_the_end

if TYPE_CHECKING:
    from irosh.services.shell.followed import FollowedTerminal

MAX_INPUT = 256 * 1024  # bytes of a session's input that may wait for its process
_CANNOT_START = 127


class ServerSession(asyncssh.SSHServerSession[bytes]):
    """One session channel: a shell or a command, on a terminal or on pipes."""

    def __init__(self, context: SSHContext, account: Account) -> None:
        self._context = context
        self.account = account
        self.command: str | None = None
        self._terminal: Terminal | None = None
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
        self._followed: FollowedTerminal | None = None
        self._works: list[asyncio.Task[None]] = []
        self._given_away: SessionProcess | None = None

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._chan = chan
        self._context.sessions[self.end] = None

    def end(self) -> None:
        """End it at once."""
        self._chan.abort()

    def agent_requested(self, open_agent: OpenAgent) -> bool:
        """The client offers its agent: once for a session, under a capability of its own."""
        if self._agent is None and self._allowed(Use(("agent",))):
            self._agent = SessionAgent.make(self.account, open_agent)
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
        self.command = command
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
        self._program = program.arguments(grant, self.account, client_version)
        return True

    def session_started(self) -> None:
        self._task = self._context.group.create_task(self._run())
        self._task.add_done_callback(self._forget)

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if self._given_away is not None:
            _type_late(self._given_away, data)
            return
        if not self._waiting and self._process is not None and self._process.stdin is not None:
            # A key goes to the program without another turn of the loop. What fails here fails again below.
            with contextlib.suppress(OSError):
                data = data[os.write(self._process.stdin, data) :]
            if not data:
                return
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
            size = (width, height, pixwidth, pixheight)
            self._process.resize(size)
            if self._followed is not None:
                self._followed.resize(size)

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
            return
        self._forget()
        if self._agent is not None:
            self._agent.close()  # nothing was run with it

    def _forget(self, _ended: object = None) -> None:
        self._context.sessions.pop(self.end, None)

    # -- the life of the process

    async def _run(self) -> None:
        async with served_agent(self._agent):
            await self._run_process()

    async def _run_process(self) -> None:
        with ExitStack() as places:
            try:
                process = await self._start(places)
            except IroshError as error:
                self._chan.write_stderr(f"irosh: {error}\n".encode())
                self._chan.exit(_CANNOT_START)
                return
            self._process = process
            self._works.append(asyncio.create_task(self._feed(process)))
            try:
                with self._offered():
                    await self._serve(process)
            finally:
                # The lost channel and the ending connection both cancel this task, one maybe during the other.
                await to_the_end(self._end(process))

    async def _start(self, places: ExitStack) -> SessionProcess:
        if self._refusal:
            raise IroshError(ErrorCode.DENIED, self._refusal)
        if self._program is not None:
            places.enter_context(self._context.program_place())
            return await start_program(self._program)
        return await start_process(self.account, self._forced(self.command), self._terminal, self._environment())

    def _offered(self) -> AbstractContextManager[None]:
        """The client may have a session on a terminal go on as one that stays, so that others can join it."""
        handle = self._chan.get_environment().get(HANDLE)
        offer, terminal = self._context.offer, self._terminal
        if not handle or offer is None or terminal is None or self._program is not None or self._agent is not None:
            return nullcontext()
        if not self._context.permits(MAY_SHARE):
            return nullcontext()
        from irosh.services.shell.followed import FollowedTerminal

        self._followed = FollowedTerminal(terminal.size, self._context.pace)
        self._works.append(asyncio.create_task(self._followed.follow()))
        return offer(handle, self)

    async def give_away(self) -> Adopted:
        """See :class:`irosh.services.shell.adoption.Adoptable`. The channel is left for the client to close."""
        process, followed = self._process, self._followed
        if process is None or followed is None:
            raise IroshError(ErrorCode.SESSION_UNKNOWN, "that session has ended")
        if self._waiting:
            raise IroshError(ErrorCode.BUSY, "the program has not taken yet what was typed before", "try again")
        self._given_away, self._process = process, None
        await self._end_works()
        return Adopted(process, followed)

    async def _serve(self, process: SessionProcess) -> None:
        outputs = [asyncio.create_task(self._copy(process.stdout, None))]
        if process.stderr is not None:
            outputs.append(asyncio.create_task(self._copy(process.stderr, asyncssh.EXTENDED_DATA_STDERR)))
        self._works += outputs
        status = await process.wait()
        # As sshd: a command on pipes ends when all who hold them have; on a terminal with its shell.
        await asyncio.wait(outputs, timeout=_TERMINAL_DRAIN if process.on_terminal else None)
        await self._end_works()
        if self._given_away is not None:
            return  # its end is told to whoever is at it now
        if status >= 0:
            self._chan.exit(status)
        else:
            self._chan.exit_with_signal(_signal_name(-status))

    async def _copy(self, descriptor: int, datatype: int | None) -> None:
        while data := await read_descriptor(descriptor):
            if self._followed is not None:
                self._followed.output(data)
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

    async def _end_works(self) -> None:
        for work in self._works:
            work.cancel()
        await asyncio.gather(*self._works, return_exceptions=True)

    async def _end(self, process: SessionProcess) -> None:
        await self._end_works()
        if self._given_away is None:
            await process.end()

    def _environment(self) -> dict[str, str]:
        accepted = accepted_environment(self._chan.get_environment())
        given = {} if self._terms is None else dict(self._terms.environment)
        if self.command is not None and self._forced(None) is not None:
            given["SSH_ORIGINAL_COMMAND"] = self.command
        agent = {} if self._agent is None else {"SSH_AUTH_SOCK": self._agent.path}
        return {**accepted, **given, **self._context.environment, **agent}

    def _forced(self, command: str | None) -> str | None:
        """What runs in place of ``command``, where something has to; else ``command``."""
        return command if self._terms is None or self._terms.command is None else self._terms.command


def _type_late(process: SessionProcess, data: bytes) -> None:
    """What was typed before the client knew that the session has moved."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            os.write(process.stdin, data)


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
