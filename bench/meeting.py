"""Hosts and clients of every mode in the laboratory: what each is told so that the two meet."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.measuring import BenchError
from bench.nodes import PETNAME, Host, client_state, irosh_host_with
from bench.places import Place
from bench.programs import IROSH, run

BY_FILES = ("iroh-manual", "custom")
_OFFER_DEADLINE = 30.0
_NEXT_OFFER = 3.0
_POLL = 0.02


@dataclass
class Pair:
    """A running host, and the state directory of a client in ``near`` that has met it once and knows it by name."""

    near: Place
    host: Host
    state: Path
    options: Sequence[str]
    offer: Path | None
    _used: str = field(default="", repr=False)

    def command(self, *command: str) -> list[str]:
        """``irosh connect`` from the near place."""
        return self.near.command(IROSH, "--state", str(self.state), "connect", *self.options, PETNAME, *command)

    def ready(self) -> None:
        """Return once the host can be met: in a mode where blocks go by files, when it has written its next offer.

        An offer that nobody has answered holds for further clients: then no other one comes.
        """
        if self.offer is None:
            return
        begin = time.monotonic()
        while (offer := self.offer.read_text() if self.offer.exists() else "") in ("", self._used):
            waited = time.monotonic() - begin
            if offer and waited > _NEXT_OFFER:
                return
            if waited > _OFFER_DEADLINE:
                raise BenchError("the host writes no offer")
            time.sleep(_POLL)
        self._used = offer


@contextmanager
def pair(
    near: Place, far: Place, directory: Path, mode: str, *options: str, relay: str | None = None
) -> Iterator[Pair]:
    """A host in ``far`` that is met in ``mode`` with ``options``, which both sides get, and its client in ``near``."""
    directory.mkdir()
    relays = ["--no-relay"] if relay is None else ["--relay", relay]
    blocks = directory / "offer", directory / "answer"
    files = ["--offer-file", str(blocks[0]), "--answer-file", str(blocks[1])] if mode in BY_FILES else []
    common = ["--mode", mode, *relays, *options, *files]
    with irosh_host_with(far, directory / "host", *common, "--invite-uses", "10") as host:
        state = client_state(directory / "client", *([relay] if relay else []))
        met = Pair(near, host, state, common, blocks[0] if files else None)
        met.ready()
        target = "-" if files else host.ticket
        run(near.command(IROSH, "--state", str(state), "connect", *common, "--name", PETNAME, target, "true"))
        yield met
