"""The embedded relay: listens, and shuts down in good order."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from contextlib import AsyncExitStack
from types import TracebackType

from irosh.transport.relay.config import RelayConfig
from irosh.transport.relay.connection import RelayConnection
from irosh.transport.relay.hub import Hub, logger
from irosh.transport.relay.listener import listen
from irosh.transport.relay.metrics import RelayCounters

_ACCEPT_PAUSE = 1.0  # seconds to wait for file descriptors
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class RelayServer:
    """A relay for iroh endpoints, running inside ``async with``::

        async with RelayServer(RelayConfig(host="0.0.0.0", tokens=frozenset({"..."}))) as relay:
            print(relay.url)
            await stop.wait()

    Leaving the block tells the clients that the relay restarts and closes them, within
    :attr:`RelayConfig.close_timeout`. What happens is logged to ``irosh.transport.relay``: clients coming
    and going at INFO, with the first 10 digits of their ids; strangers at DEBUG.
    """

    def __init__(self, config: RelayConfig) -> None:
        self._config = config
        self._stack = AsyncExitStack()
        self._addresses: list[tuple[str, int]] = []
        self._hub: Hub

    async def __aenter__(self) -> RelayServer:
        """Starts to listen.

        Raises:
            IroshError: ``INVALID_CONFIG`` if the TLS files cannot be used, ``PORT_TAKEN`` or ``BIND_FAILED``.
        """
        tls = self._config.ssl_context()
        self._hub = Hub(self._config)
        async with AsyncExitStack() as stack:
            listeners = await listen(self._config.host, self._config.port)
            for listener in listeners:
                stack.callback(listener.close)
            self._addresses = [listener.getsockname()[:2] for listener in listeners]
            tasks = await asyncio.TaskGroup().__aenter__()
            # Not told of the block's own failure, which it would wrap in an exception group.
            stack.push_async_callback(tasks.__aexit__, None, None, None)
            stack.push_async_callback(self._say_goodbye)
            for listener in listeners:
                accepting = tasks.create_task(self._accept(listener, tls, tasks))
                stack.callback(accepting.cancel)
            self._stack = stack.pop_all()
        logger.info("relay listening on %s", self.url)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops listening, says good-bye to all clients, and returns when no connection is left."""
        await self._stack.__aexit__(kind, error, trace)
        logger.info("relay on port %d stopped", self.port)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.addresses[0][1]

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """All addresses it listens on."""
        return self._addresses

    @property
    def url(self) -> str:
        """The URL for endpoints that can reach the configured host; a wildcard address becomes loopback."""
        host = _LOOPBACK.get(self._config.host, self._config.host)
        scheme = "http" if self._config.tls_cert is None else "https"
        return f"{scheme}://[{host}]:{self.port}" if ":" in host else f"{scheme}://{host}:{self.port}"

    @property
    def counters(self) -> RelayCounters:
        """What the relay has counted so far; updated while it runs."""
        return self._hub.snapshot()

    async def _accept(self, listener: socket.socket, tls: ssl.SSLContext | None, tasks: asyncio.TaskGroup) -> None:
        while True:
            try:
                sock, _ = await self._hub.loop.sock_accept(listener)
            except OSError as error:
                # The client gave up already, or there are no more file descriptors. Neither ends the relay.
                if error.errno != errno.ECONNABORTED:
                    logger.warning("cannot accept connections now: %s", error.strerror)
                    await asyncio.sleep(_ACCEPT_PAUSE)
                continue
            tasks.create_task(RelayConnection(self._hub).open(sock, tls, self._config.handshake_timeout))

    async def _say_goodbye(self) -> None:
        try:
            self._hub.shut_down()
            await self._hub.deserted.wait()  # every connection has its own deadline
        finally:
            self._hub.abort_all()
            await self._hub.deserted.wait()
