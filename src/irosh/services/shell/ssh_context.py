"""What the parts of the host's side of one SSH connection share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from irosh.core.terms import Terms
from irosh.node.actions import Action, Grant, Immediate
from irosh.services.shell.adoption import Adoptable
from irosh.services.shell.onward import Way
from irosh.services.shell.persistent.pace import Pace
from irosh.services.shell.subsystems import Subsystems
from irosh.transport.asyncio_transport import StreamTransport


@dataclass
class SSHContext:
    """What the SSH server of one stream knows of its peer."""

    petname: str
    authorize: Callable[[Action], Awaitable[Grant]]
    authorize_now: Callable[[Immediate], Grant]
    group: asyncio.TaskGroup
    transport: Callable[[], StreamTransport | None]
    environment: Mapping[str, str]
    permits: Callable[[Immediate], bool]
    subsystems: Subsystems
    program_place: Callable[[], AbstractContextManager[None]]
    lead_on: Callable[[str], Awaitable[Way]] | None = None
    """Finds a way to the peer of that name or id."""
    terms: Callable[[], Terms | None] = lambda: None
    """What the peer has to heed besides its capabilities; raises ``IroshError``."""
    offer: Callable[[str, Adoptable], AbstractContextManager[None]] | None = None
    """Lets a session go on as one that stays, if its client asks for that by the name it gave; None: it cannot."""
    pace: Pace = field(default_factory=Pace)
    sessions: dict[Callable[[], None], None] = field(default_factory=dict)
    """How to end each session that is open, whether or not it runs anything."""
