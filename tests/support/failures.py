"""What goes wrong as it should."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from irosh.core.errors import ErrorCode, IroshError


@contextmanager
def fails(code: ErrorCode, part: str = "") -> Iterator[None]:
    """What is done inside fails with ``code``, and says ``part`` among other things."""
    with pytest.raises(IroshError) as caught:
        yield
    assert caught.value.code == code
    assert part in str(caught.value)
