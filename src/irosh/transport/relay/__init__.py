"""The embedded relay: forwards encrypted datagrams between iroh endpoints that cannot reach each other
directly.

Wire-compatible with the relay client of the iroh wheel. It sees who talks to whom and how much, never what.
"""

from irosh.transport.relay.config import DEFAULT_PORT, RelayConfig
from irosh.transport.relay.metrics import RelayCounters
from irosh.transport.relay.server import RelayServer

__all__ = ["DEFAULT_PORT", "RelayConfig", "RelayCounters", "RelayServer"]
