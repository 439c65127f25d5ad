"""Programs of the host that serve sessions: how many at once."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.shell.subsystems import ProgramLimit


def test_each_peer_has_so_many_places() -> None:
    limit = ProgramLimit(2)
    with ExitStack() as stack:
        stack.enter_context(limit.place("one"))
        with limit.place("one"), limit.place("other"), pytest.raises(IroshError) as caught, limit.place("one"):
            pass
        assert caught.value.code == ErrorCode.BUSY
        with limit.place("one"):
            pass
    with limit.place("one"), limit.place("one"):
        pass
