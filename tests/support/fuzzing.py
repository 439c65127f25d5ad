"""How long to fuzz: ``IROSH_FUZZ_RUNS`` runs of each fuzz test, a few hundred where nothing is said."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

LONG_DEADLINE = 4 * 3600.0


def fuzz_runs(default: int) -> Callable[[Any], Any]:
    """Hypothesis' settings for a fuzz test, and time enough for what was asked for."""
    asked = os.environ.get("IROSH_FUZZ_RUNS")
    fuzz = settings(max_examples=int(asked or default), deadline=None, suppress_health_check=list(HealthCheck))
    if asked is None:
        return fuzz
    return lambda test: pytest.mark.timeout(LONG_DEADLINE)(fuzz(test))
