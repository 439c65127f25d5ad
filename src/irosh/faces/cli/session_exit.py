"""How a command ends that was at a session: what it says then, and its exit status."""

from __future__ import annotations

from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.faces.cli.carrier import SessionEnd
from irosh.faces.cli.options import Settings
from irosh.faces.cli.output import report_error
from irosh.faces.cli.running import Abandoned
from irosh.faces.cli.session_flags import finished
from irosh.faces.cli.table import printable

EXIT_LOST = 255
_STATUS = 0xFF  # what a process can say of its end; a host may say anything


def ended(settings: Settings, end: SessionEnd) -> int:
    """Tell how the session ended; the exit status of the command."""
    if (status := finished(settings, end.answer)) is not None:
        return status
    fields: dict[str, Any] = {"status": end.status, "signal": end.signal}
    settings.output.event("exit", fields, f"irosh: ended by signal {printable(end.signal)}" if end.signal else None)
    return EXIT_LOST if end.status is None else end.status & _STATUS


def cut_short(settings: Settings, why: Abandoned | IroshError) -> int:
    """Tell why the session did not come to its end; the exit status of the command."""
    if isinstance(why, Abandoned):
        settings.output.event("closed", {}, f"irosh: {why}")
        return EXIT_LOST
    report_error(why, as_json=settings.json)
    return 2 if why.code is ErrorCode.USAGE else EXIT_LOST
