"""Opening channels of an SSH connection: what AsyncSSH says when that fails, as our errors."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import asyncssh

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.wording import escape

MAX_REASON = 300


async def opened(opening: Coroutine[Any, Any, object]) -> None:
    """Wait until a channel is open. ``IroshError``: denied, target-unreachable, connection-lost."""
    try:
        await opening
    except asyncssh.ChannelOpenError as error:
        denied = error.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED
        code = ErrorCode.DENIED if denied else ErrorCode.TARGET_UNREACHABLE
        raise IroshError(code, escape(error.reason, MAX_REASON) or "it does not lead on") from None
    except asyncssh.Error as error:
        raise IroshError(ErrorCode.CONNECTION_LOST, f"the SSH connection was lost: {error}") from None
