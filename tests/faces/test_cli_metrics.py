"""``irosh metrics`` and ``irosh host --metrics-listen``."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.lab.irosh_process import Irosh
from tests.lab.machine import LOCAL
from tests.lab.pair import PEER, pinned_pair
from tests.lab.processes import wait_until

# Base units and the endings of their names: https://prometheus.io/docs/practices/naming/
_UNITS = ("_seconds", "_bytes", "_ratio", "_info", "_per_second")
_WITHOUT_UNIT = {
    *("irosh_connections", "irosh_streams_open", "irosh_streams", "irosh_packets", "irosh_path_changes"),
    *("irosh_reconnects", "irosh_audit_entries_lost", "irosh_history_rows_lost", "process_open_fds", "process_max_fds"),
}


def checked(text: str) -> dict[str, Metric]:
    """The metrics by name, if the text is one that `promtool check metrics` would pass."""
    families = list(text_string_to_metric_families(text))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    for family in families:
        assert family.documentation, family.name
        assert family.type in ("counter", "gauge"), family.name
        assert family.name.endswith(_UNITS) or family.name in _WITHOUT_UNIT, f"{family.name} has no unit"
        labels = [tuple(sorted(sample.labels.items())) for sample in family.samples]
        assert len(labels) == len(set(labels)), f"{family.name} has a series twice"
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter"), sample.name
            assert sample.value >= 0, sample
            assert set(sample.labels) <= {"peer", "path", "direction", "service", "version", "hosting"}
    return {family.name: family for family in families}


def value(metrics: dict[str, Metric], name: str, **labels: str) -> float:
    """Of the only series with these labels."""
    [found] = [sample.value for sample in metrics[name].samples if labels.items() <= sample.labels.items()]
    return float(found)


def test_the_metrics_of_a_node(tmp_path: Path) -> None:
    with pinned_pair(tmp_path) as pair:
        assert pair.client.run("connect", PEER, "head -c 1000000 /dev/zero").returncode == 0

        def counted() -> dict[str, Metric] | None:
            found = checked(pair.host.run("metrics").stdout.decode())
            return found if value(found, "irosh_bytes", direction="sent") > 1_000_000 else None

        ended = wait_until(counted, what="the session's bytes are counted")
        assert value(ended, "irosh_bytes", direction="received") > 1000
        assert value(ended, "irosh_packets", direction="sent") > 100
        assert value(ended, "irosh_streams", service="shell") == 2
        assert value(ended, "irosh_stream_bytes", service="shell", direction="sent") > 1_000_000
        assert not ended["irosh_connections"].samples
        assert value(ended, "irosh_node_info", hosting="true") == 1
        with pair.client.tunnel(PEER, "tcp://127.0.0.1:9=127.0.0.1:0"):
            now = checked(pair.client.run("metrics").stdout.decode())
            assert value(now, "irosh_connections", peer=PEER, path="direct") == 1
            assert value(now, "irosh_connections", peer=PEER, path="relayed") == 0
            assert value(now, "irosh_connection_rtt_seconds", peer=PEER, path="direct") < 1
            assert value(now, "irosh_streams", service="tunnel") == 1
            name = pair.host.call("status")["connections"][0]["peer"]
            far = checked(pair.host.run("metrics").stdout.decode())
            assert value(far, "irosh_bytes", peer=name, direction="sent") > value(
                ended, "irosh_bytes", direction="sent"
            ), "totals go on with the next session"
        assert "irosh_bytes_total" in pair.host.call("metrics")["text"]


def test_metrics_need_a_node(tmp_path: Path) -> None:
    assert Irosh(LOCAL, tmp_path / "state").failure("metrics")["code"] == "not-running"


def test_metrics_by_http(tmp_path: Path) -> None:
    irosh = Irosh(LOCAL, tmp_path / "state")
    with irosh.start("host", "--metrics-listen", "0") as process:
        url = process.wait_event("ready")["metrics_url"]
        assert url.startswith("http://127.0.0.1:")
        assert irosh.call("status")["metrics_url"] == url
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            found = checked(answer.read().decode())
        assert value(found, "irosh_node_info") == 1
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(url.removesuffix("/metrics"), timeout=30)
        raised.value.close()
        assert raised.value.code == 404
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=30)


def test_where_the_configuration_says(tmp_path: Path) -> None:
    irosh = Irosh(LOCAL, tmp_path / "state")
    with (irosh.state / "config.toml").open("a") as config:
        config.write('[metrics]\nlisten = "[::1]:0"\n')
    with irosh.start("host") as process:
        assert process.wait_event("ready")["metrics_url"].startswith("http://[::1]:")
    with irosh.start("host", "--metrics-listen", "127.0.0.1:0") as process:
        assert process.wait_event("ready")["metrics_url"].startswith("http://127.0.0.1:")


def test_by_default_nothing_listens(tmp_path: Path) -> None:
    irosh = Irosh(LOCAL, tmp_path / "state")
    with irosh.start("host") as process:
        assert process.wait_event("ready")["metrics_url"] is None


def test_a_port_that_is_taken_and_addresses_that_cannot_be(tmp_path: Path) -> None:
    irosh = Irosh(LOCAL, tmp_path / "state")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        error = irosh.failure("host", "--metrics-listen", str(taken.getsockname()[1]))
    assert error["code"] == "port-taken"
    assert not irosh.control_socket.exists()
    assert irosh.failure("host", "--metrics-listen", "nowhere")["code"] == "invalid-address"
    with (irosh.state / "config.toml").open("a") as config:
        config.write('[metrics]\nlisten = "1.2.3.4"\n')
    error = irosh.failure("host")
    assert error["code"] == "invalid-config"
    assert "metrics.listen" in error["message"]
