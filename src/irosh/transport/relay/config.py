"""What a relay is told: where to listen, whom to serve, and its limits."""

from __future__ import annotations

import math
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from irosh.core.errors import ErrorCode, IroshError
from irosh.transport.relay.frames import ID_SIZE, MAX_FRAME

DEFAULT_PORT: Final = 3340
"""The port of a relay without TLS by iroh's convention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayConfig:
    """Settings of a :class:`RelayServer`. Times are seconds, sizes bytes.

    Raises:
        IroshError: ``INVALID_CONFIG`` if a value makes no sense.
    """

    host: str = "127.0.0.1"
    """Address or name to listen on; ``0.0.0.0`` or ``::`` for all."""
    port: int = DEFAULT_PORT
    """0 lets the system choose."""
    tokens: frozenset[str] = field(default=frozenset(), repr=False)
    """Bearer tokens, any of which admits a client; if empty, none is needed."""
    allow: frozenset[bytes] = frozenset()
    """Endpoint ids (32 bytes) that are served; if empty, all are."""
    tls_cert: Path | None = None
    """PEM file with the certificate chain; without it the relay speaks plain HTTP."""
    tls_key: Path | None = None
    """PEM file with its private key; not needed if the key is in ``tls_cert``."""

    max_clients: int = 4096
    """Authenticated connections."""
    max_pending: int = 512
    """Connections that have not authenticated. A further one displaces the oldest, so that connections
    which never finish their handshake cannot keep others out.
    """
    queue_frames: int = 1024
    """Frames that may wait for one slow client before datagrams to it are dropped."""
    queue_bytes: int = 2 * 1024 * 1024
    """Bytes that may wait for one slow client."""
    queue_age: float = 0.25
    """Datagrams that have waited longer are dropped instead of sent."""
    queue_bytes_total: int = 256 * 1024 * 1024
    """Bytes that may wait for all clients together."""
    rate_limit: float | None = None
    """Bytes a second that are read from one client on average; None for no limit."""
    rate_burst: int = 4 * 1024 * 1024
    """Bytes that a client may send at once after a pause."""
    handshake_timeout: float = 10.0
    """From TCP accept to authenticated, TLS included."""
    ping_interval: float = 15.0
    """A client that has been silent for this long is sent a ping."""
    idle_timeout: float = 30.0
    """A client that has been silent for this long is dropped."""
    close_timeout: float = 3.0
    """How long a closing connection, or the whole relay at shutdown, may take to send what it has to say."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise _invalid(f"the port {self.port} is not between 0 and 65535")
        if any(len(endpoint_id) != ID_SIZE for endpoint_id in self.allow):
            raise _invalid(f"an endpoint id to allow does not have {ID_SIZE} bytes")
        if not all(token.isascii() and token.isprintable() and token.strip() == token for token in self.tokens):
            raise _invalid("a token has characters that an HTTP header cannot carry")
        if "" in self.tokens:
            raise _invalid("a token is empty")
        if self.tls_key is not None and self.tls_cert is None:
            raise _invalid("a TLS key without a certificate")
        for name in ("max_clients", "max_pending", "queue_frames"):
            if getattr(self, name) < 1:
                raise _invalid(f"{name} must be at least 1")
        for name in ("queue_bytes", "queue_bytes_total", "rate_burst"):
            if getattr(self, name) < MAX_FRAME:
                raise _invalid(f"{name} must be at least {MAX_FRAME}, the largest frame")
        for name in ("queue_age", "handshake_timeout", "ping_interval", "idle_timeout", "close_timeout"):
            if not 0 < getattr(self, name) < math.inf:
                raise _invalid(f"{name} must be above 0")
        if self.idle_timeout <= self.ping_interval:
            raise _invalid("idle_timeout must be longer than ping_interval, or pings could not be answered in time")
        if self.rate_limit is not None and not 1024 <= self.rate_limit < math.inf:
            raise _invalid("rate_limit must be at least 1024 bytes a second")

    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS settings of the listener, None for plain HTTP. Reads the files.

        Raises:
            IroshError: ``INVALID_CONFIG`` if they cannot be read or do not belong together.
        """
        if self.tls_cert is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            # A password callback, because OpenSSL would otherwise prompt on the terminal.
            context.load_cert_chain(self.tls_cert, self.tls_key, password=lambda: "")
        except ssl.SSLError as error:
            reason = error.reason or "not a PEM certificate chain with its unencrypted private key"
            raise _invalid(
                f"the TLS certificate {self.tls_cert} cannot be used: {reason}",
                "certificate and key are PEM files that belong together; the key is not encrypted",
            ) from None
        except OSError as error:
            raise _invalid(f"the TLS certificate or key cannot be read: {error.strerror}") from None
        return context


def _invalid(message: str, hint: str = "") -> IroshError:
    return IroshError(ErrorCode.INVALID_CONFIG, message, hint)
