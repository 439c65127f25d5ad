"""How long to fuzz: ``IROSH_FUZZ_RUNS`` runs of each fuzz test, a few hundred where nothing is said."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings


def fuzz_runs(default: int) -> Callable[[Any], Any]:
    """Hypothesis' settings for a fuzz test."""
    runs = int(os.environ.get("IROSH_FUZZ_RUNS", default))
    return settings(max_examples=runs, deadline=None, suppress_health_check=list(HealthCheck))
