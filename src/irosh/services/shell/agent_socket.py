"""Agent forwarding on the host: a socket of each session that leads to the ssh-agent of its client.

Only the session's account can reach it: the directory is its own, with mode 0700, and whoever connects is looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import secrets
import socket
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from irosh.node.accounts import Account
from irosh.transport.interfaces import SpliceCounters, Stream, StreamReset
from irosh.transport.socket_owner import owner_of
from irosh.transport.tasks import task_group

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 64  # of one session at once
_SHARED = Path("/tmp")  # noqa: S108 - where the session's account gets to, whatever the host's own directories are
_NAME = "agent"
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE = 0.2  # seconds until there may be descriptors again

OpenAgent = Callable[[], Awaitable[Stream]]
"""Opens a way to the client's agent. Raises ``OSError`` when the client has none, or does not want to."""


class AgentSocket:
    """A listening socket. ``path`` is what ``SSH_AUTH_SOCK`` is set to."""

    def __init__(self, account: Account) -> None:
        """``OSError`` when it cannot be made."""
        self._uid = account.uid
        self._directory = _make_directory()
        self.path = str(self._directory / _NAME)
        # To take the socket away again by this descriptor: the account can put another directory in this one's place.
        self._descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.setblocking(False)
            self._listener.bind(self.path)
            self._listener.listen(MAX_CONNECTIONS)
            os.chmod(_NAME, 0o600, dir_fd=self._descriptor)
            if account.switch:
                # The socket first: once the directory is the account's, what is in it is too.
                os.chown(_NAME, account.uid, account.gid, dir_fd=self._descriptor, follow_symlinks=False)
                os.fchown(self._descriptor, account.uid, account.gid)
        except BaseException:
            self.close()
            raise

    async def serve(self, open_agent: OpenAgent) -> None:
        """Carry each connection to the client's agent, until cancelled."""
        loop = asyncio.get_running_loop()
        places = asyncio.Semaphore(MAX_CONNECTIONS)
        async with task_group() as group:
            while True:
                await places.acquire()
                try:
                    client, _ = await loop.sock_accept(self._listener)
                except OSError as error:
                    places.release()
                    if error.errno not in _FULL:
                        raise
                    await asyncio.sleep(_PAUSE)
                    continue
                group.create_task(self._carry(client, open_agent, places))

    async def _carry(self, client: socket.socket, open_agent: OpenAgent, places: asyncio.Semaphore) -> None:
        try:
            owner = owner_of(client)
            if owner is not None and owner not in (self._uid, 0):
                log.warning("a process of user %d came to the agent socket of user %d", owner, self._uid)
                return
            stream = await open_agent()
            await stream.splice(client, SpliceCounters())
        except (OSError, StreamReset) as error:
            log.info("agent: %s", error)
        finally:
            client.close()
            places.release()

    def close(self) -> None:
        """Close the socket, and leave nothing behind."""
        self._listener.close()
        with contextlib.suppress(OSError):
            os.unlink(_NAME, dir_fd=self._descriptor)
        os.close(self._descriptor)
        with contextlib.suppress(OSError):
            # Removes an empty directory or nothing, whatever has this name by now.
            self._directory.rmdir()


def _make_directory() -> Path:
    """A new directory that nobody else can enter."""
    base = _SHARED if os.access(_SHARED, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
    while True:
        path = base / f"irosh-agent-{secrets.token_hex(8)}"
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
            return path
