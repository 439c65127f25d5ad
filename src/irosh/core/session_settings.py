"""How a session keeps alive and what it keeps."""

from __future__ import annotations

from dataclasses import dataclass

from irosh.core.paths import Paths


@dataclass(frozen=True)
class SessionSettings:
    """Times in seconds, sizes in bytes."""

    keepalive: float = 15.0
    """After so long without a sign of life the peer is asked for one."""
    dead_after: float = 30.0
    """After so long without one the connection is given up."""
    resume_for: float = 600.0
    """How long a session waits for its next connection."""
    replay_buffer: int = 16 * 1024 * 1024
    """Of one stream."""
    replay_total: int = 128 * 1024 * 1024
    """Of all streams of all sessions with one peer."""
    paths: Paths = Paths.FASTEST
    """How sessions that this node opens use several networks, unless a command says."""
