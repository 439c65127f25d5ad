"""Looks at the system's counters, in a thread: some of them can take long, as on a disk that does not answer."""

from __future__ import annotations

import asyncio
import os
import time

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.telemetry.messages import Counters

FRESH = 0.4
"""Seconds for which a look serves all who ask."""
DEADLINE = 10.0


class Sampler:
    """One for all peers, so that many that watch cost no more than one. One look is under way at a time."""

    def __init__(self) -> None:
        self._looking: asyncio.Future[Counters] | None = None
        self._latest: Counters | None = None

    async def counters(self) -> Counters:
        """A look that is fresh. ``IroshError`` (timeout) when the system does not answer."""
        if self._latest is not None and time.monotonic() - self._latest.time < FRESH:
            return self._latest
        if self._looking is None:
            self._looking = asyncio.ensure_future(asyncio.to_thread(read_counters))
            self._looking.add_done_callback(self._looked)
        try:
            async with asyncio.timeout(DEADLINE):
                return await asyncio.shield(self._looking)
        except TimeoutError:
            raise IroshError(ErrorCode.TIMEOUT, "the system does not say how busy it is") from None

    def _looked(self, done: asyncio.Future[Counters]) -> None:
        self._looking = None
        if not done.cancelled() and done.exception() is None:
            self._latest = done.result()


def read_counters() -> Counters:
    """The counters now. May block."""
    import psutil  # late: most nodes are never asked

    times = psutil.cpu_times()
    # On Linux the time of guests is also in that of users and nice.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    idle = times.idle + getattr(times, "iowait", 0.0)
    memory = psutil.virtual_memory()
    disk = psutil.disk_usage("/")
    moved = psutil.disk_io_counters()
    interfaces = psutil.net_io_counters(pernic=True)
    network = [counted for name, counted in interfaces.items() if not name.startswith("lo")]
    return Counters(
        time=time.monotonic(),
        busy=total - idle,
        total=total,
        cores=psutil.cpu_count() or 1,
        load=os.getloadavg()[0],
        memory_used=memory.total - memory.available,
        memory_total=memory.total,
        disk_used=disk.used,
        disk_total=disk.total,
        disk_read=moved.read_bytes if moved is not None else 0,
        disk_written=moved.write_bytes if moved is not None else 0,
        net_received=sum(counted.bytes_recv for counted in network),
        net_sent=sum(counted.bytes_sent for counted in network),
        uptime=max(0, int(time.time() - psutil.boot_time())),
    )
