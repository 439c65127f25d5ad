"""The SSH library sends an empty message (SSH_MSG_IGNORE) before each that it encrypts; here it does not.

They defend ciphers in CBC mode, where the last block sent tells who listens too much (RFC 4251, section 9.3.1), and
none of those is offered here: see ``CIPHERS``. OpenSSH sends them for no other cipher either. Without them a keystroke
is one message to encrypt, send and decrypt, not two. Where the library is made otherwise than known, nothing is done.
"""

from __future__ import annotations

from typing import Any

from asyncssh.constants import MSG_IGNORE


def send_no_ignored(connection: Any) -> None:
    """Leave these messages out on ``connection``, whose cipher is none in CBC mode."""
    send = getattr(connection, "send_packet", None)
    if send is None:
        return

    def send_packet(kind: int, *parts: bytes, **options: Any) -> None:
        if kind != MSG_IGNORE:
            send(kind, *parts, **options)

    connection.send_packet = send_packet
