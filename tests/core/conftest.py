"""A trust store of its own for each test, and its clock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from irosh.core.trust import TrustStore
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[TrustStore]:
    with TrustStore(tmp_path / "irosh.db", clock=clock) as opened:
        yield opened
