"""A host tells a peer how busy it is, if the peer may know; it costs less than a kilobyte a second."""

from __future__ import annotations

import time
from pathlib import Path

from irosh.faces.cli.options import Settings
from irosh.faces.cli.telemetry_feed import TelemetryFeed
from tests.lab.pair import PEER, Pair
from tests.lab.processes import wait_until

MEASURED = 12.0  # seconds


def test_nobody_is_told_by_default(loopback_pair: Pair, tmp_path: Path) -> None:
    stranger = loopback_pair.add_client(tmp_path / "stranger")
    error = stranger.failure("telemetry", PEER)
    assert error["code"] == "denied"
    assert "telemetry" in error["hint"]


def test_once(loopback_pair: Pair, tmp_path: Path) -> None:
    friend = loopback_pair.add_client(tmp_path / "friend", allow=["exec", "telemetry"])
    found = friend.call("telemetry", PEER)
    assert found["peer"] == PEER
    host, link = found["host"], found["link"]
    assert 0 <= host["cpu"] <= 1
    assert 0 < host["memory_used"] < host["memory_total"]
    assert 0 < host["disk_used"] <= host["disk_total"]
    assert (link["down"], link["path"]) == (False, "direct")
    shown = friend.run("telemetry", PEER).stdout.decode()
    assert "processor" in shown
    assert f"of {host['cores']}, load" in shown


def test_less_than_a_kilobyte_a_second(loopback_pair: Pair, tmp_path: Path) -> None:
    friend = loopback_pair.add_client(tmp_path / "friend", allow=["exec", "telemetry"])
    with friend.start("telemetry", PEER, "--watch", "--interval", "1s") as process:
        for _ in range(6):  # until the engine has found out how large packets may be
            process.wait_event("telemetry")

        def moved() -> int:
            (connection,) = friend.call("status")["connections"]
            return int(connection["bytes_sent"]) + int(connection["bytes_received"])

        began, before = time.monotonic(), moved()
        time.sleep(MEASURED)
        rate = (moved() - before) / (time.monotonic() - began)
        print(f"telemetry every second: {rate:.0f} bytes a second, both directions, with UDP payload of all packets")
        assert rate < 1000
        assert len([event for event in process.events if event.get("event") == "telemetry"]) >= MEASURED - 2
        assert process.stop() in (0, 130)


def test_the_feed_follows_in_the_background(loopback_pair: Pair, tmp_path: Path) -> None:
    friend = loopback_pair.add_client(tmp_path / "friend", allow=["exec", "telemetry"])
    (peer,) = friend.call("peer", "list")["peers"]
    with friend.start("connect", PEER, "cat", stdin=-1) as process:
        process.wait_event("connected")
        feed = TelemetryFeed(Settings(state=friend.state), peer["id"], interval=1.0)
        try:
            found = wait_until(feed.latest, what="the host has told")
            assert found.host.memory_total > 0
            assert feed.error is None
        finally:
            feed.close()


def test_a_feed_that_is_denied_says_why(loopback_pair: Pair, tmp_path: Path) -> None:
    stranger = loopback_pair.add_client(tmp_path / "stranger")
    (peer,) = stranger.call("peer", "list")["peers"]
    with stranger.start("connect", PEER, "cat", stdin=-1) as process:
        process.wait_event("connected")
        feed = TelemetryFeed(Settings(state=stranger.state), peer["id"])
        try:
            error = wait_until(lambda: feed.error, what="it is denied")
            assert error.code == "denied"
            assert feed.latest() is None
        finally:
            feed.close()
