"""What opens a stream of the shell service."""

from __future__ import annotations

import msgspec


class ShellRequest(msgspec.Struct, omit_defaults=True):
    """``key_auth``: the client will prove its identity to SSH too; a stock client leaves that to the transport."""

    key_auth: bool = False
