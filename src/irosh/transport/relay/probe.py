"""Asking a relay what is wrong: the engine only says that it is not connected, a person wants to know why."""

from __future__ import annotations

import asyncio
import socket
from urllib.parse import urlsplit, urlunsplit

from irosh.core.errors import ErrorCode, IroshError, system_message
from irosh.transport.relay import handshake
from irosh.transport.relay.codec import decode_relay_frame, encode_client_frame
from irosh.transport.relay.frames import (
    RelayProtocolError,
    ServerChallenge,
    ServerConfirmsAuth,
    ServerDeniesAuth,
)

PROBE_DEADLINE = 5.0
_MAX_FRAME = 4096  # the frames of a handshake are small


async def probe_relay(url: str, token: str | None, secret: bytes | None) -> IroshError | None:
    """What keeps a client from using the relay at ``url``; None when nothing does.

    With the identity's ``secret`` the whole handshake is made, which takes the identity's place on the relay for that
    moment; without it, only as far as the relay's challenge. ``relay-unreachable``: nothing answers, or what does is no
    relay; ``relay-denied``: a missing or wrong token, or an identity that the relay does not serve.
    """
    try:
        await _visit(url, token, secret)
    except IroshError as error:
        return error
    return None


async def measure_relay(url: str, token: str | None) -> float:
    """The round trip time to the relay at ``url`` in seconds, by a ping on its WebSocket. ``IroshError``, as above."""
    return await _visit(url, token, None, measure=True)


async def _visit(url: str, token: str | None, secret: bytes | None, *, measure: bool = False) -> float:
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidStatus, WebSocketException

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with (
            asyncio.timeout(PROBE_DEADLINE),
            connect(
                _websocket_url(url),
                additional_headers=headers,
                subprotocols=["iroh-relay-v2", "iroh-relay-v1"],  # type: ignore[list-item]
                compression=None,
                max_size=_MAX_FRAME,
                proxy=None,
                close_timeout=1,
            ) as client,
        ):
            frame = decode_relay_frame(await client.recv(decode=False))
            rtt = 0.0
            if isinstance(frame, ServerChallenge) and measure:
                rtt = await (await client.ping())
            elif isinstance(frame, ServerChallenge) and secret is not None:
                await client.send(encode_client_frame(handshake.answer(secret, frame.challenge)))
                frame = decode_relay_frame(await client.recv(decode=False))
    except InvalidStatus as error:
        if error.response.status_code in (401, 403):
            raise _denied(url, f"HTTP status {error.response.status_code}") from None
        raise _no_relay(url, f"HTTP status {error.response.status_code}") from None
    except RelayProtocolError as error:
        raise _no_relay(url, error.message) from None
    except WebSocketException as error:
        raise _no_relay(url, str(error)) from None
    except (OSError, TimeoutError) as error:
        reason = "no answer" if isinstance(error, TimeoutError) else system_message(error)
        if isinstance(error, socket.gaierror):
            reason = "its name cannot be resolved"
        raise IroshError(
            ErrorCode.RELAY_UNREACHABLE,
            f"the relay {url} cannot be reached: {reason}",
            "does it run, and is the URL right?",
        ) from None
    if isinstance(frame, ServerDeniesAuth):
        raise _denied(url, frame.reason)
    if isinstance(frame, ServerChallenge | ServerConfirmsAuth):
        return rtt
    raise _no_relay(url, f"an unexpected {type(frame).__name__}")


def _websocket_url(url: str) -> str:
    parts = urlsplit(url)
    scheme = "wss" if parts.scheme == "https" else "ws"
    return urlunsplit((scheme, parts.netloc, "/relay", "", ""))


def _denied(url: str, reason: str) -> IroshError:
    return IroshError(
        ErrorCode.RELAY_DENIED,
        f"the relay {url} refuses: {ascii(reason)[1:-1]}",
        "its token belongs into config.toml under [relay_tokens]",
    )


def _no_relay(url: str, problem: str) -> IroshError:
    return IroshError(
        ErrorCode.RELAY_UNREACHABLE,
        f"what answers at {url} is no relay: {ascii(problem)[1:-1][:200]}",
        "is the URL right?",
    )
