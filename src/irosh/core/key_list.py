"""Files of public keys as in sshd(8) ``authorized_keys``, one a line. Pure: text in, digests out."""

from __future__ import annotations

import base64
import binascii
import hashlib

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.wording import quoted

_KEY_TYPES = ("ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-")


def parse_key_list(text: str) -> tuple[bytes, ...]:
    """The SHA-256 digest of each key, in order, each once. Empty lines and comments (``#``) are skipped.

    ``IroshError`` (usage), naming the line: for what is no key, and for options before a key (``from=``, ``command=``),
    which nobody would enforce here.
    """
    digests: dict[bytes, None] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if line and not line.startswith("#"):
            digests[_digest(line, number)] = None
    return tuple(digests)


def _digest(line: str, number: int) -> bytes:
    kind, _, rest = line.partition(" ")
    if not kind.startswith(_KEY_TYPES):
        raise _bad(number, f"begins with {quoted(kind)}, which is no type of key", "options are not served")
    if "-cert-" in kind:
        raise _bad(number, "holds a certificate", "write the public key itself")
    try:
        blob = base64.b64decode(rest.split()[0] if rest.split() else "", validate=True)
    except binascii.Error:
        blob = b""
    name = kind.encode()
    if not blob.startswith(len(name).to_bytes(4, "big") + name) or len(blob) <= 4 + len(name):
        raise _bad(number, f"holds no {quoted(kind)} key", "copy the whole line of the .pub file")
    return hashlib.sha256(blob).digest()


def _bad(number: int, problem: str, hint: str) -> IroshError:
    return IroshError(ErrorCode.USAGE, f"line {number} {problem}", hint)
