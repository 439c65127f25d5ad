"""The protocol of ssh-agent (draft-ietf-sshm-ssh-agent), as far as one must understand it to pass it on. Pure."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from enum import IntEnum

from irosh.core.ssh_wire import SshReader, SshWireError, string

LENGTH_SIZE = 4
MAX_MESSAGE = 256 * 1024
"""Bytes of one message, as OpenSSH's own agent takes."""
MAX_KEYS = 2048

SESSION_BIND = b"session-bind@openssh.com"
"""The extension by which a client tells the agent over which SSH session a key is about to be used."""


class Request(IntEnum):
    """The requests that are told apart."""

    LIST = 11
    SIGN = 13
    EXTENSION = 27


class Answer(IntEnum):
    """The answers that are told apart."""

    FAILURE = 5
    KEYS = 12


FAILURE = string(bytes([Answer.FAILURE]))
"""The whole message by which an agent refuses."""

LIST = string(bytes([Request.LIST]))
"""The whole message that asks for the keys."""


@dataclass(frozen=True)
class AgentKey:
    """A key that an agent holds: the public key blob and its comment."""

    blob: bytes
    comment: str

    @property
    def fingerprint(self) -> str:
        """As ssh-keygen -l shows it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")


def message_length(prefix: bytes) -> int:
    """The length of the message behind ``prefix``. ``SshWireError`` for none or too long a message."""
    length = int.from_bytes(prefix, "big")
    if not 0 < length <= MAX_MESSAGE:
        raise SshWireError(f"a message of {length} bytes")
    return length


def signing_key(body: bytes) -> bytes | None:
    """The key that a request (without its length) wants used; None when it wants no signature. ``SshWireError``."""
    reader = SshReader(body)
    if reader.byte() != Request.SIGN:
        return None
    return reader.string()


def is_harmless(body: bytes) -> bool:
    """Whether a request only looks: it lists the keys, or tells where one will be used. ``SshWireError``."""
    reader = SshReader(body)
    kind = reader.byte()
    return kind == Request.LIST or (kind == Request.EXTENSION and reader.string() == SESSION_BIND)


def parse_keys(body: bytes) -> list[AgentKey]:
    """The keys in the answer to :data:`LIST`; none in any other answer. ``SshWireError``."""
    reader = SshReader(body)
    if reader.byte() != Answer.KEYS:
        return []
    count = reader.uint32()
    if count > MAX_KEYS:
        raise SshWireError(f"{count} keys")
    keys = []
    for _ in range(count):
        blob = reader.string()
        keys.append(AgentKey(blob, reader.string().decode(errors="replace")))
    return keys
