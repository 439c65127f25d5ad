"""iperf3's client, against a server on this machine."""

from __future__ import annotations

import json
from typing import Any

from tests.lab.machine import LOCAL


def iperf3(port: int, *options: str) -> dict[str, Any]:
    """The summary of one run. ``AssertionError`` with the reason when there is none: its status is 0 then, too."""
    report = json.loads(LOCAL.run("iperf3", "-J", "-c", "127.0.0.1", "-p", str(port), *options, timeout=120).stdout)
    assert "error" not in report, report["error"]
    end: dict[str, Any] = report["end"]
    return end
