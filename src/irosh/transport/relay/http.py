"""What the relay answers over HTTP: the relay's own WebSocket path, probes, health and metrics.

iroh clients time ``/ping`` to choose the nearest relay, and look at ``/generate_204`` for captive portals:
a portal could fake the 204, but not the header that repeats the client's challenge.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Collection
from http import HTTPStatus
from typing import Final

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from irosh import __version__
from irosh.transport.relay.metrics import CONTENT_TYPE, RelayCounters

RELAY_PATH: Final = "/relay"

_TEXT: Final = "text/plain; charset=utf-8"
_PORTAL_CHALLENGE: Final = re.compile(r"[A-Za-z0-9._-]{1,63}")


def path_of(request: Request) -> str:
    """The request's path without its query."""
    return request.path.partition("?")[0]


def respond(request: Request, counters: RelayCounters) -> Response:
    """The answer to any request but one for :data:`RELAY_PATH`."""
    if request.method not in ("GET", "HEAD"):
        response = _response(HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"only GET is served here\n")
        response.headers["Allow"] = "GET, HEAD"
    else:
        response = _get(request, counters)
    if request.method == "HEAD":
        response.body = b""
    return response


def token_problem(request: Request, tokens: Collection[str]) -> str | None:
    """Why the request's ``Authorization: Bearer`` header does not admit it, or None if it does."""
    if not tokens:
        return None
    values = request.headers.get_all("Authorization")
    scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    if scheme.lower() != "bearer":
        return "this relay needs a token"
    given = token.strip().encode("utf-8", "surrogateescape")
    # All are compared, so the time taken tells nothing about which one came near.
    matches = [hmac.compare_digest(given, known.encode()) for known in tokens]
    return None if any(matches) else "wrong token"


def _get(request: Request, counters: RelayCounters) -> Response:
    match path_of(request):
        case "/":
            return _response(HTTPStatus.OK, _TEXT, b"This is an irosh relay. It carries encrypted traffic only.\n")
        case "/ping":
            return _response(HTTPStatus.OK, _TEXT, b"pong\n")
        case "/healthz":
            health = {"status": "ok", "version": __version__, "clients": counters.clients}
            return _response(HTTPStatus.OK, "application/json", json.dumps(health).encode() + b"\n")
        case "/metrics":
            return _response(HTTPStatus.OK, CONTENT_TYPE, counters.prometheus_text())
        case "/generate_204":
            headers = Headers({"Connection": "close"})
            challenges = request.headers.get_all("X-Iroh-Challenge")
            if len(challenges) == 1 and _PORTAL_CHALLENGE.fullmatch(challenges[0]):
                headers["X-Iroh-Response"] = f"response {challenges[0]}"
            return Response(HTTPStatus.NO_CONTENT.value, HTTPStatus.NO_CONTENT.phrase, headers)
        case _:
            return _response(HTTPStatus.NOT_FOUND, _TEXT, b"not found\n")


def _response(status: HTTPStatus, content_type: str, body: bytes) -> Response:
    headers = Headers(
        {
            "Connection": "close",
            "Content-Type": content_type,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            # Browsers that are iroh clients time /ping as well. Nothing here depends on who asks.
            "Access-Control-Allow-Origin": "*",
        }
    )
    return Response(status.value, status.phrase, headers, body)
