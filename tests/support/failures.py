"""What goes wrong as it should."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from irosh.core.errors import ErrorCode, IroshError


@contextmanager
def fails(code: ErrorCode, part: str = "") -> Iterator[None]:
    """What is done inside fails with ``code``, and says ``part`` among other things."""
    with pytest.raises(IroshError) as caught:
        yield
    assert caught.value.code == code
    assert part in str(caught.value)


async def refusal(work: Coroutine[Any, Any, object]) -> IroshError:
    """The error that ``work`` ends with."""
    with pytest.raises(IroshError) as caught:
        await work
    return caught.value
