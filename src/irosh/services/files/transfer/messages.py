"""What the nodes at the two ends of a transfer say to each other, before the transfer itself begins."""

from __future__ import annotations

import msgspec

from irosh.node.accounts import DEFAULT_USER
from irosh.node.target_request import TargetRequest


class FilesRequest(msgspec.Struct, omit_defaults=True):
    """Asks for the files of ``user`` on the host, for a transfer to (``writing``) or from it."""

    user: str = DEFAULT_USER
    writing: bool = False

    @property
    def summary(self) -> str:
        """What the stream is for, as ``irosh status`` shows it."""
        return "put" if self.writing else "get"


class TransferRequest(TargetRequest, kw_only=True):
    """Operation ``files.transfer``: see :mod:`irosh.node.handed_socket`."""

    user: str | None = None
    writing: bool = False
