"""What is said once for all forwards of a command."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ForwardOptions:
    """``gateway_ports``: where no address is said, listen on every interface; ``unlink``: replace Unix sockets."""

    gateway_ports: bool = False
    unlink: bool = False


DEFAULTS = ForwardOptions()
