"""The metrics of a node in Prometheus' text format.

Names and units follow the conventions of https://prometheus.io/docs/practices/naming/. The labels are few: a peer, by
its petname, and the kind of path; streams are only counted for each service.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from irosh import __version__
from irosh.node.metrics.collector import OTHERS, PeerReading
from irosh.node.metrics.streams import ServiceTotals

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OTHERS_NAME = "(others)"


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What is shown. ``names``: petnames by endpoint id; a peer without one is shown by its id."""

    started_at: float
    hosting: bool
    peers: Sequence[PeerReading]
    names: Mapping[str, str]
    services: Mapping[str, tuple[int, ServiceTotals]]
    audit_entries_lost: int
    history_rows_lost: int

    def text(self) -> bytes:
        """In the format of :data:`CONTENT_TYPE`."""
        from prometheus_client import CollectorRegistry, ProcessCollector
        from prometheus_client.exposition import generate_latest

        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        ProcessCollector(registry=registry)
        return generate_latest(registry)

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        yield from self._node()
        yield from self._gauges()
        yield from self._counters()
        yield from self._services()

    def _node(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        info = GaugeMetricFamily("irosh_node_info", "The running node, always 1", labels=["version", "hosting"])
        info.add_metric([__version__, str(self.hosting).lower()], 1)
        yield info
        yield GaugeMetricFamily("irosh_start_time_seconds", "When the node started, in Unix time", self.started_at)
        yield CounterMetricFamily(
            "irosh_audit_entries_lost", "Entries of the audit that could not be written", self.audit_entries_lost
        )
        yield CounterMetricFamily(
            "irosh_history_rows_lost", "Rows of the metrics' history that could not be written", self.history_rows_lost
        )

    def _gauges(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        connections = GaugeMetricFamily(
            "irosh_connections", "Sessions now, by the kind of their path (none: down)", labels=["peer", "path"]
        )
        rtt = GaugeMetricFamily(
            "irosh_connection_rtt_seconds", "Round trip time of the path in use", labels=["peer", "path"]
        )
        jitter = GaugeMetricFamily(
            "irosh_connection_jitter_seconds", "Mean deviation of the round trip time", labels=["peer"]
        )
        loss = GaugeMetricFamily("irosh_connection_loss_ratio", "Lost of what was sent lately, 0 to 1", labels=["peer"])
        throughput = GaugeMetricFamily(
            "irosh_connection_throughput_bytes_per_second",
            "Throughput over the last seconds, all sessions",
            labels=["peer", "direction"],
        )
        kept = GaugeMetricFamily(
            "irosh_replay_buffer_bytes", "Sent but not acknowledged, kept to be sent again", labels=["peer"]
        )
        for reading in self.peers:
            if not reading.meters:
                continue
            name = self._name(reading)
            newest = reading.meters[-1]
            for path in ("direct", "relayed", "none"):
                connections.add_metric([name, path], sum(meter.path == path for meter in reading.meters))
            if newest.rtt is not None:
                rtt.add_metric([name, newest.path], newest.rtt)
                jitter.add_metric([name], newest.jitter)
            loss.add_metric([name], newest.loss)
            throughput.add_metric([name, "sent"], sum(meter.rates[0] for meter in reading.meters))
            throughput.add_metric([name, "received"], sum(meter.rates[1] for meter in reading.meters))
            kept.add_metric([name], reading.kept)
        yield from (connections, rtt, jitter, loss, throughput, kept)

    def _counters(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily

        moved = CounterMetricFamily(
            "irosh_bytes", "UDP payload sent and received, all paths", labels=["peer", "direction"]
        )
        packets = CounterMetricFamily("irosh_packets", "UDP packets sent and received", labels=["peer", "direction"])
        lost = CounterMetricFamily("irosh_lost_bytes", "Of what was sent, that lost on the way", labels=["peer"])
        changes = CounterMetricFamily(
            "irosh_path_changes", "Times that the path in use became another", labels=["peer"]
        )
        reconnects = CounterMetricFamily("irosh_reconnects", "Times that a session was resumed", labels=["peer"])
        up = CounterMetricFamily("irosh_session_up_seconds", "Sessions' time with a connection", labels=["peer"])
        down = CounterMetricFamily("irosh_session_down_seconds", "Sessions' time without one", labels=["peer"])
        for reading in self.peers:
            name, totals, traffic = self._name(reading), reading.totals, reading.totals.traffic
            moved.add_metric([name, "sent"], traffic.bytes_sent)
            moved.add_metric([name, "received"], traffic.bytes_received)
            packets.add_metric([name, "sent"], traffic.packets_sent)
            packets.add_metric([name, "received"], traffic.packets_received)
            lost.add_metric([name], traffic.bytes_lost)
            changes.add_metric([name], totals.path_changes)
            reconnects.add_metric([name], totals.reconnects)
            up.add_metric([name], totals.up)
            down.add_metric([name], totals.down)
        yield from (moved, packets, lost, changes, reconnects, up, down)

    def _services(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        now = GaugeMetricFamily("irosh_streams_open", "Streams open now", labels=["service"])
        opened = CounterMetricFamily("irosh_streams", "Streams opened, by either side", labels=["service"])
        moved = CounterMetricFamily(
            "irosh_stream_bytes", "What streams carried, their datagrams included", labels=["service", "direction"]
        )
        for service, (present, totals) in sorted(self.services.items()):
            now.add_metric([service], present)
            opened.add_metric([service], totals.opened)
            moved.add_metric([service, "sent"], totals.sent)
            moved.add_metric([service, "received"], totals.received)
        yield from (now, opened, moved)

    def _name(self, reading: PeerReading) -> str:
        return OTHERS_NAME if reading.peer_id == OTHERS else self.names.get(reading.peer_id, reading.peer_id)
