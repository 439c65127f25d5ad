"""What operations are asked with that reach a peer."""

from __future__ import annotations

import msgspec

from irosh.core.mode import Mode
from irosh.core.network_choice import NOTHING_CHOSEN, NetworkChoice
from irosh.core.paths import Paths


class TargetRequest(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What every operation that reaches a peer is asked with. ``mode`` None: as the ticket or the peer says.

    ``connect_timeout`` in seconds; None: as long as the mode takes to give up.
    """

    target: str
    name: str | None = None
    mode: Mode | None = None
    network: NetworkChoice = NOTHING_CHOSEN
    paths: Paths | None = None
    certificate: str | None = None
    """A file with the certificate to show; None: the one in the state directory."""
    connect_timeout: float | None = None
    jump: tuple[str, ...] = ()
    """The hops of the way to the target; mode, network and paths are about the first of them then."""
    accept_new: bool = False
    """Trust an SSH server on the way whose host key is not known yet without asking."""
    agent_socket: str | None = None
    """The ssh-agent of whoever runs the command, for SSH servers on the way."""
    answers: bool = False
    """Somebody answers what these ask."""
