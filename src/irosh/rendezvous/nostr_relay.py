"""A Nostr relay of one's own, for machines without the internet: nostr-sdk's, for events that are not stored."""

from __future__ import annotations

import asyncio
import socket
from types import TracebackType
from typing import Any

from irosh.core import nostr_frames
from irosh.core.errors import ErrorCode, IroshError

# For each connection. nostr-sdk's default of 60 would stop a host that greets many peers.
_EVENTS_PER_MINUTE = 1200
_SUBSCRIPTIONS = 100
_PORT_ATTEMPTS = 10


class NostrRelay:
    """Serves on ``host`` (an IP address) and ``port`` (0: any free one) while it is entered."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self._wanted = port
        self._relay: Any = None
        self.port = 0

    @property
    def url(self) -> str:
        """``ws://HOST:PORT``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ws://{host}:{self.port}"

    async def __aenter__(self) -> NostrRelay:
        """Raises ``IroshError`` (port-taken, bind-failed)."""
        for _ in range(_PORT_ATTEMPTS):
            self.port = self._wanted or _free_port(self.host)
            try:
                self._relay = await self._start()
                return self
            except IroshError as error:
                # Of a port that was free a moment ago: somebody was faster.
                if self._wanted or error.code is not ErrorCode.PORT_TAKEN:
                    raise
        raise IroshError(ErrorCode.PORT_TAKEN, f"no port of {self.host} is free")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._relay.shutdown()
        self._relay = None

    async def _start(self) -> Any:
        import nostr_sdk

        limit = nostr_sdk.RateLimit(max_reqs=_SUBSCRIPTIONS, notes_per_minute=_EVENTS_PER_MINUTE)
        nostr_sdk.uniffi_set_event_loop(asyncio.get_running_loop())  # the policy is asked from other threads
        builder = nostr_sdk.LocalRelayBuilder().addr(self.host).port(self.port).rate_limit(limit)
        relay = builder.write_policy(_ephemeral_only(nostr_sdk)).build()
        try:
            await relay.run()
        except nostr_sdk.NostrSdkError as error:
            reason = str(error).strip("'")
        else:
            return relay
        if "in use" in reason:
            raise IroshError(
                ErrorCode.PORT_TAKEN,
                f"another program listens on {self.host} port {self.port}",
                "choose another port, or 0 for any free one",
            )
        raise IroshError(ErrorCode.BIND_FAILED, f"cannot listen on {self.host} port {self.port}: {reason[:200]}")


def _ephemeral_only(sdk: Any) -> Any:
    """A policy that takes nothing which would have to be kept: the memory of this machine is not for everybody."""

    class EphemeralOnly(sdk.WritePolicy):  # type: ignore[misc]
        async def admit_event(self, event: Any, socket_addr: str) -> Any:
            if event.kind().as_u16() in nostr_frames.EPHEMERAL_KINDS:
                return sdk.WritePolicyResult.ACCEPT()
            return sdk.WritePolicyResult.REJECT("blocked: only ephemeral events are passed on here")

    return EphemeralOnly()


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise IroshError(ErrorCode.BIND_FAILED, f"cannot listen on {host}: {error.strerror or error}") from None
