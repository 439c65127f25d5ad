"""Two sides of an ICE session, each a program on a host of the laboratory (:mod:`tests.support.ice_peer`)."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from tests.lab.machine import Machine, end_group

DEADLINE = 45.0

Said = dict[str, Any]


class IcePeer:
    """One side. :meth:`hear` its lines of JSON in order, and :meth:`tell` it others."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def tell(self, **values: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(values).encode() + b"\n")
        self._process.stdin.flush()

    def hear(self) -> Said:
        assert self._process.stdout is not None
        watchdog = threading.Timer(DEADLINE, self._process.kill)
        watchdog.start()
        line = self._process.stdout.readline()
        watchdog.cancel()
        assert line, f"the program ended with {self._process.wait()}"
        return dict(json.loads(line))


@contextmanager
def peer(machine: Machine, program: str, **settings: Any) -> Iterator[IcePeer]:
    """A side that runs ``program`` of :mod:`tests.support` with ``settings``, for the length of the block."""
    process = machine.popen(
        *(sys.executable, "-m", f"tests.support.{program}", json.dumps(settings)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None,  # type: ignore[arg-type]
    )
    try:
        yield IcePeer(process)
    finally:
        end_group(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


@dataclass(frozen=True)
class Result:
    """What the sides said: of their candidates, of the meeting, of the bytes (the client), and what they left open."""

    gathered: tuple[Said, Said]
    host: Said
    client: Said
    echoed: Said
    left: tuple[Said, Said]

    @property
    def way(self) -> str:
        """``direct``, ``turn``, ``relay`` or the code of the refusal."""
        if "error" in self.client:
            return str(self.client["error"]["code"])
        return str(self.client["way"])


def meet(
    host: Machine,
    client: Machine,
    host_settings: Mapping[str, Any],
    client_settings: Mapping[str, Any],
    *,
    seconds: float = 0.0,
    late: float = 0.0,
    opening: Callable[[], None] | None = None,
) -> Result:
    """Have two sides meet and exchange bytes for ``seconds``. The host learns of the client ``late``.

    ``opening`` is called once they have met; the bytes then end, before that time, when the path is a direct one.
    """
    with ExitStack() as stack:
        sides = [
            stack.enter_context(peer(host, "ice_peer", controlling=False, **host_settings)),
            stack.enter_context(peer(client, "ice_peer", controlling=True, **client_settings)),
        ]
        gathered = [side.hear() for side in sides]
        sides[1].tell(description=gathered[0]["description"])
        time.sleep(late)
        sides[0].tell(description=gathered[1]["description"])
        met_client, met_host = sides[1].hear(), sides[0].hear()
        echoed: Said = {}
        if "error" not in met_client:
            if opening is not None:
                opening()
            sides[1].tell(seconds=seconds, until_direct=opening is not None)
            echoed = sides[1].hear()
        left = (sides[0].hear(), sides[1].hear())
        return Result((gathered[0], gathered[1]), met_host, met_client, echoed, left)
