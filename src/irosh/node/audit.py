"""Writing the audit: a full or failing disk is reported, once in a while, but does not stop the node."""

from __future__ import annotations

import logging
import time
from typing import Literal

from irosh.core.errors import IroshError
from irosh.core.trust import TrustStore

log = logging.getLogger(__name__)

Outcome = Literal["accepted", "refused", "used", "closed", "changed"]
_REPORT_EVERY = 60.0


class Auditor:
    """Records accepts, refusals and uses of capabilities in the trust store."""

    def __init__(self, trust: TrustStore) -> None:
        self._trust = trust
        self._reported = float("-inf")
        self.lost_entries = 0

    def record(self, event: str, peer_id: str | None, outcome: Outcome, detail: str = "") -> None:
        """Write one entry. Never raises: what cannot be written is counted and logged."""
        try:
            self._trust.audit(event, peer_id, outcome, detail)
        except IroshError as error:
            self.lost_entries += 1
            if time.monotonic() - self._reported > _REPORT_EVERY:
                self._reported = time.monotonic()
                log.error("the audit cannot be written (%d entries lost): %s", self.lost_entries, error)
