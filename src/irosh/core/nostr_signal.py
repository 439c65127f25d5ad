"""Signalling messages of mode nostr: requests and answers, signed by the irosh identity. Pure.

They travel end-to-end encrypted, from one Nostr key to another, over relays that neither side trusts. So each is bound
by an Ed25519 signature to the session, to both Nostr keys and to the sender's endpoint id; it says when it was made and
when it expires, and is taken once. Whoever dials chooses the session id, at random: an answer that names it is fresh.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass

import msgspec

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.wording import escape

VERSION = 1
MAX_SIZE = 12 * 1024
"""Bytes of a message. Nostr relays take events of 64 KiB and more; encryption makes 1.8 times as much of it."""
LIFETIME = 60.0
"""Seconds."""
CLOCK_TOLERANCE = 120.0
"""Seconds by which two clocks may differ."""

SESSION_SIZE = 16
_NONCE_SIZE = 16
_KEY_SIZE = 32
_SIGNATURE_SIZE = 64
_CONTEXT = b"irosh nostr signal v1\0"
_MAX_TEXT = 500


class Request(msgspec.Struct, tag="request", omit_defaults=True):
    """Whoever dials asks for a session. ``description``: of :mod:`irosh.core.ice_description`, encoded."""

    description: bytes
    invite: bytes | None = None

    def __repr__(self) -> str:
        return f"Request(invite={'yes' if self.invite else 'no'})"


class Answer(msgspec.Struct, tag="answer"):
    """The host's answer to a request."""

    description: bytes

    def __repr__(self) -> str:
        return "Answer()"  # the description holds the session's ICE password


class Refusal(msgspec.Struct, tag="refusal", omit_defaults=True):
    """Why the host will not have the session, or could not establish it: an :class:`IroshError`."""

    code: str
    message: str
    hint: str = ""

    @classmethod
    def of(cls, error: IroshError) -> Refusal:
        """The refusal that carries ``error``."""
        return cls(str(error.code), error.message[:_MAX_TEXT], error.hint[:_MAX_TEXT])

    def error(self) -> IroshError:
        """The error it carries."""
        return IroshError.from_dict(msgspec.structs.asdict(self))


class Bye(msgspec.Struct, tag="bye"):
    """Whoever dialled gives the session up: the host need not wait for it."""


Content = Request | Answer | Refusal | Bye


class Signal(msgspec.Struct, omit_defaults=True):
    """One message. Times in seconds since 1970, by the sender's clock."""

    version: int
    session: bytes
    sender: bytes
    """The endpoint id of its sender, as bytes."""
    created: float
    expires: float
    nonce: bytes
    content: Content
    recipient: bytes | None = None
    """The endpoint id of whom it is for, if its sender knows it. One Nostr key may be shared by several."""


class _Signed(msgspec.Struct):
    body: bytes
    signature: bytes


@dataclass(frozen=True)
class Parties:
    """The Nostr keys of a message, 32 bytes each."""

    sender: bytes
    recipient: bytes


_encoder = msgspec.msgpack.Encoder()
_signed_decoder = msgspec.msgpack.Decoder(_Signed)
_signal_decoder = msgspec.msgpack.Decoder(Signal)


def seal(
    identity: Identity,
    parties: Parties,
    session: bytes,
    content: Content,
    *,
    now: float,
    recipient: bytes | None = None,
) -> bytes:
    """A message of ``identity``, signed. ``ValueError`` when it is larger than ``MAX_SIZE``."""
    signal = Signal(
        version=VERSION,
        session=session,
        sender=identity.public,
        created=now,
        expires=now + LIFETIME,
        nonce=os.urandom(_NONCE_SIZE),
        content=content,
        recipient=recipient,
    )
    body = _encoder.encode(signal)
    payload = _encoder.encode(_Signed(body, identity.sign(_signed_bytes(parties, body))))
    if len(payload) > MAX_SIZE:
        raise ValueError(f"a message of {len(payload)} bytes is too large")
    return payload


def open_signal(payload: bytes, parties: Parties) -> Signal:
    """The message in ``payload``, its signature verified. Whether its time has come :func:`check_time` says.

    Raises:
        IroshError: ``PROTOCOL`` for all that is not a message of ``parties.sender`` for ``parties.recipient``.
    """
    if len(payload) > MAX_SIZE:
        raise _malformed("too large")
    try:
        signed = _signed_decoder.decode(payload)
        signal = _signal_decoder.decode(signed.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(escape(str(error), 200)) from None
    if signal.version != VERSION:
        raise IroshError(
            ErrorCode.PROTOCOL,
            f"the signalling message is of version {signal.version}, this irosh speaks {VERSION}",
            "upgrade the older one",
        )
    sizes = (len(signal.session), len(signal.sender), len(signal.nonce), len(signed.signature))
    if sizes != (SESSION_SIZE, _KEY_SIZE, _NONCE_SIZE, _SIGNATURE_SIZE):
        raise _malformed("fields of a wrong length")
    if not 0 <= signal.expires - signal.created <= LIFETIME:  # also refuses infinities and NaN
        raise _malformed("it would live too long")
    if not _is_signed(signal.sender, signed.signature, _signed_bytes(parties, signed.body)):
        raise _malformed("its signature is wrong")
    return signal


def check_time(signal: Signal, now: float) -> None:
    """Raises ``IroshError`` (clock-skew) for a message from the future or the past, worded for its sender."""
    if signal.created > now + CLOCK_TOLERANCE:
        ahead = signal.created - now
        raise _skewed(f"your request is {_rough(ahead)} ahead of this host's time")
    if signal.expires < now - CLOCK_TOLERANCE:
        behind = now - signal.created
        raise _skewed(f"your request is {_rough(behind)} behind this host's time")


class SeenNonces:
    """Tells a message from its repetition, for as long as :func:`check_time` lets it pass; of bounded size."""

    def __init__(self, capacity: int = 4096) -> None:
        self._capacity = capacity
        self._seen: OrderedDict[tuple[bytes, bytes], float] = OrderedDict()

    def is_new(self, signal: Signal, now: float) -> bool:
        """Whether this message has not been given here before. The oldest is forgotten when there are too many."""
        while self._seen and next(iter(self._seen.values())) < now:
            self._seen.popitem(last=False)
        key = (signal.sender, signal.nonce)
        if key in self._seen:
            return False
        if len(self._seen) >= self._capacity:
            self._seen.popitem(last=False)
        self._seen[key] = now + LIFETIME + 2 * CLOCK_TOLERANCE  # the longest that any message is valid
        return True

    def __len__(self) -> int:
        return len(self._seen)


def _signed_bytes(parties: Parties, body: bytes) -> bytes:
    return _CONTEXT + parties.sender + parties.recipient + body


def _is_signed(public: bytes, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _malformed(problem: str) -> IroshError:
    return IroshError(ErrorCode.PROTOCOL, f"malformed signalling message: {problem}")


def _skewed(message: str) -> IroshError:
    return IroshError(
        ErrorCode.CLOCK_SKEW,
        f"{message}: the two clocks differ",
        "set the clock of the machine that is wrong (`date -u` on both), then try again",
    )


def _rough(seconds: float) -> str:
    for unit, size in (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
