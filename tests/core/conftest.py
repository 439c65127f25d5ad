"""A trust store of its own for each test, and its clock; and a place of another user's."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from irosh.core.trust import TrustStore
from tests.support.clock import Clock
from tests.support.system import NOBODY


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[TrustStore]:
    with TrustStore(tmp_path / "irosh.db", clock=clock) as opened:
        yield opened


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A directory of an unprivileged user's, entered as that user if the tests run as root."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as name:
        if root:
            os.chown(name, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            if root:
                os.seteuid(0)
