"""What a node tells the process that does a transfer for it. Imports little: the process shall start fast."""

from __future__ import annotations

import msgspec


class Setup(msgspec.Struct):
    """What the node tells its worker. ``trees`` empty: everything; ``account``: user, group and groups to become."""

    descriptor: int
    writing: bool
    home: str
    account: tuple[int, int, list[int]] | None
    trees: list[tuple[str, bool]]
