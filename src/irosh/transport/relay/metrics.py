"""What a relay counts, and its Prometheus text form.

The counters are plain integers because the hot path counts several times a frame; they become Prometheus
metrics only when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def _counter(text: str) -> Any:
    return field(default=0, metadata={"help": text})


@dataclass(slots=True)
class RelayCounters:
    """Totals since the relay was made, and with ``clients``, ``endpoints``, ``pending`` and
    ``queued_bytes`` the present state.
    """

    clients: int = _counter("Authenticated connections now")
    endpoints: int = _counter("Distinct endpoint ids connected now")
    pending: int = _counter("Connections now that have not authenticated")
    queued_bytes: int = _counter("Bytes waiting for slow clients now")
    connections_total: int = _counter("TCP connections accepted")
    connections_displaced_total: int = _counter("Unauthenticated connections displaced by newer ones")
    http_requests_total: int = _counter("HTTP requests other than those of relay clients")
    handshakes_total: int = _counter("Clients that authenticated")
    handshake_timeouts_total: int = _counter("Connections dropped for not authenticating in time")
    denied_token_total: int = _counter("Clients denied for a missing or wrong token")
    denied_signature_total: int = _counter("Clients denied for a wrong signature")
    denied_not_allowed_total: int = _counter("Clients denied because their endpoint id is not allowed")
    denied_full_total: int = _counter("Clients denied because the relay was full")
    superseded_total: int = _counter("Connections that a newer one with the same endpoint id replaced")
    protocol_errors_total: int = _counter("Connections closed for breaking the protocol")
    idle_total: int = _counter("Clients dropped for being silent")
    unread_total: int = _counter("Clients dropped for not reading")
    frames_received_total: int = _counter("Datagram frames received")
    bytes_received_total: int = _counter("Bytes of datagram frames received")
    frames_forwarded_total: int = _counter("Datagram frames queued for their destination")
    bytes_forwarded_total: int = _counter("Bytes of datagram frames queued for their destination")
    dropped_unknown_total: int = _counter("Datagram frames dropped because their destination is not connected")
    dropped_full_total: int = _counter("Datagram frames dropped because their destination's queue was full")
    dropped_stale_total: int = _counter("Datagram frames dropped because they had waited too long")
    rate_limited_total: int = _counter("Times that reading from a client was paused by the rate limit")
    endpoints_gone_total: int = _counter("Endpoint-gone frames sent")
    pings_received_total: int = _counter("Pings received")
    pings_sent_total: int = _counter("Pings sent")

    def prometheus_text(self) -> bytes:
        """The metrics in Prometheus' text format, each named ``irosh_relay_...``; see
        :data:`CONTENT_TYPE`.
        """
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import generate_latest

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Snapshot(self))
        return generate_latest(registry)


class _Snapshot:
    """The counters as a Prometheus collector."""

    def __init__(self, counters: RelayCounters) -> None:
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        """One metric per counter."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for item in fields(self._counters):
            name, text, value = (
                f"irosh_relay_{item.name}",
                item.metadata["help"],
                getattr(self._counters, item.name),
            )
            if name.endswith("_total"):
                yield CounterMetricFamily(name, text, value=value)
            else:
                yield GaugeMetricFamily(name, text, value=value)
