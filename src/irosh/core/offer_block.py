"""Offers and answers: what two people paste to each other so that their nodes meet. Pure.

A block (:mod:`irosh.core.armor`) holds, numbers being big-endian::

    version    1 byte, 1
    length     2 bytes, of the content
    content    the fields, MessagePack; then the sender's 64-byte Ed25519 signature over "irosh block\\0" and them
    checksum   the first 4 bytes of SHA-256 over "irosh block\\0", version, length and content

Version, length and checksum stay where they are in later versions, so that "too new" can be told from "garbled". The
body of a block is the rendezvous mode's own message; this module does not look into it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field

import msgspec

from irosh.core.armor import Block, armor, find_blocks, invalid_block
from irosh.core.durations import format_duration
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import EndpointId, Identity, short_id, verify
from irosh.core.wording import quoted

VERSION = 1
NONCE_SIZE = 16
CLOCK_SKEW = 60.0
"""Seconds that the sender's clock may be behind this one's before its block counts as expired."""

OFFER, ANSWER = "OFFER", "ANSWER"

_TAG = b"irosh block\0"
_CHECKSUM_SIZE = 4
_HEADER_SIZE = 3
_SIGNATURE_SIZE = 64
_MAX_CONTENT = 0xFFFF


@dataclass(frozen=True)
class Offer:
    """What a host gives away so that one peer can meet it."""

    mode: str
    sender: EndpointId
    expires_at: int
    """Seconds since the epoch."""
    body: bytes = field(repr=False)
    invite: bytes | None = field(default=None, repr=False)
    nonce: bytes = field(default_factory=lambda: os.urandom(NONCE_SIZE), repr=False)

    @property
    def digest(self) -> bytes:
        """What an answer calls this offer: 32 bytes."""
        return hashlib.sha256(_TAG + _encoder.encode(_offer_fields(self))).digest()


@dataclass(frozen=True)
class Answer:
    """What a client gives back. ``offer`` is the digest of the offer, ``recipient`` its sender."""

    mode: str
    sender: EndpointId
    expires_at: int
    body: bytes = field(repr=False)
    offer: bytes = field(repr=False)
    recipient: EndpointId
    nonce: bytes = field(default_factory=lambda: os.urandom(NONCE_SIZE), repr=False)


class _OfferFields(msgspec.Struct, array_like=True, tag="offer"):
    mode: str
    expires_at: int
    nonce: bytes
    sender: bytes
    body: bytes
    invite: bytes | None = None


class _AnswerFields(msgspec.Struct, array_like=True, tag="answer"):
    mode: str
    expires_at: int
    nonce: bytes
    sender: bytes
    body: bytes
    offer: bytes
    recipient: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_OfferFields | _AnswerFields)


def encode_offer(offer: Offer, identity: Identity) -> str:
    """The block of ``offer``, signed by its sender. Secret if there is an invite: it is in it."""
    return _encode(OFFER, _offer_fields(offer), identity)


def encode_answer(answer: Answer, identity: Identity) -> str:
    """The block of ``answer``, signed by its sender."""
    fields = _AnswerFields(
        mode=answer.mode,
        expires_at=answer.expires_at,
        nonce=answer.nonce,
        sender=bytes.fromhex(answer.sender),
        body=answer.body,
        offer=answer.offer,
        recipient=bytes.fromhex(answer.recipient),
    )
    return _encode(ANSWER, fields, identity)


def read_offer(text: str, *, mode: str, own: EndpointId, now: float, sender: EndpointId | None = None) -> Offer:
    """The offer in a pasted ``text``; the last one if there are several.

    ``own`` is this node's id, ``now`` seconds since the epoch, ``sender`` whose offer it has to be, if that is known.

    Raises:
        IroshError: ``INVALID_BLOCK`` (none there, cut short, garbled), ``BLOCK_VERSION``, ``BLOCK_EXPIRED``,
            ``BLOCK_MISMATCH`` (our own, an answer, of another mode), ``IDENTITY_MISMATCH`` (not from ``sender``).
    """
    fields = _open(_wanted(text, OFFER, own))
    if not isinstance(fields, _OfferFields):
        raise _other_kind(OFFER)
    _check_sender(OFFER, fields.sender, own, sender)
    _check_mode(OFFER, fields.mode, mode)
    _check_expiry(OFFER, fields.expires_at, now)
    return Offer(fields.mode, fields.sender.hex(), fields.expires_at, fields.body, fields.invite, fields.nonce)


def read_answer(text: str, *, to: Offer, now: float) -> Answer:
    """The answer to the offer ``to`` in a pasted ``text``; the last one if there are several.

    Raises:
        IroshError: as :func:`read_offer` from anybody; ``BLOCK_MISMATCH`` also if it answers another offer.
    """
    fields = _open(_wanted(text, ANSWER, to.sender))
    if not isinstance(fields, _AnswerFields):
        raise _other_kind(ANSWER)
    _check_sender(ANSWER, fields.sender, to.sender)
    _check_mode(ANSWER, fields.mode, to.mode)
    if fields.offer != to.digest or fields.recipient.hex() != to.sender:
        whose = "an earlier offer" if fields.recipient.hex() == to.sender else "another host's offer"
        raise _mismatch(f"this answers {whose}, not the one shown last", "give the other side the offer shown last")
    # Our offer's own time, by our clock; the sender's clock may say less.
    _check_expiry(ANSWER, max(fields.expires_at, to.expires_at), now)
    return Answer(
        mode=fields.mode,
        sender=fields.sender.hex(),
        expires_at=fields.expires_at,
        body=fields.body,
        offer=fields.offer,
        recipient=fields.recipient.hex(),
        nonce=fields.nonce,
    )


def _offer_fields(offer: Offer) -> _OfferFields:
    return _OfferFields(
        offer.mode, offer.expires_at, offer.nonce, bytes.fromhex(offer.sender), offer.body, offer.invite
    )


def _encode(label: str, fields: _OfferFields | _AnswerFields, identity: Identity) -> str:
    if fields.sender != identity.public:
        raise ValueError("a block is signed by its sender")
    content = _encoder.encode(fields)
    content += identity.sign(_TAG + content)
    if len(content) > _MAX_CONTENT:
        raise ValueError(f"a block's content has {len(content)} bytes, at most {_MAX_CONTENT} fit")
    sealed = bytes([VERSION]) + len(content).to_bytes(2, "big") + content
    return armor(label, sealed + _checksum(sealed))


def _wanted(text: str, label: str, own: EndpointId) -> Block:
    """The last block with ``label``; if there are only others, an error that says what they are."""
    blocks = find_blocks(text)
    for block in reversed(blocks):
        if block.label == label:
            return block
    other = blocks[-1]
    if other.label not in (OFFER, ANSWER):
        raise invalid_block(f"this is a block of another kind ({other.label}), not an {label}")
    if _open(other).sender.hex() == own:
        raise _own(other.label)
    raise _other_kind(label)


def _open(block: Block) -> _OfferFields | _AnswerFields:
    """The fields of a block whose form, checksum and signature are right."""
    label, data = block.label, block.data()
    size = _HEADER_SIZE + int.from_bytes(data[1:_HEADER_SIZE], "big") + _CHECKSUM_SIZE
    if len(data) < _HEADER_SIZE or len(data) < size:
        raise invalid_block(f"the {label} block is cut short: {len(data)} of {size} bytes are there")
    sealed, checksum = data[:-_CHECKSUM_SIZE], data[-_CHECKSUM_SIZE:]
    if len(data) != size or _checksum(sealed) != checksum:
        raise invalid_block(f"the {label} block is garbled: its checksum does not match")
    if sealed[0] != VERSION:
        raise IroshError(
            ErrorCode.BLOCK_VERSION,
            f"the {label} block has version {sealed[0]}, this irosh reads {VERSION}",
            "upgrade irosh on this machine" if sealed[0] > VERSION else "upgrade irosh on the other machine",
        )
    content = sealed[_HEADER_SIZE:]
    encoded, signature = content[:-_SIGNATURE_SIZE], content[-_SIGNATURE_SIZE:]
    try:
        fields: _OfferFields | _AnswerFields = _decoder.decode(encoded)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise invalid_block(f"the {label} block is not made as it should be") from None
    if not verify(fields.sender, _TAG + encoded, signature):
        raise invalid_block(f"the {label} block is forged or garbled: its signature does not match its sender")
    return fields


def _check_sender(label: str, found: bytes, own: EndpointId, expected: EndpointId | None = None) -> None:
    if found.hex() == own:
        raise _own(label)
    if expected is not None and found.hex() != expected:
        raise IroshError(
            ErrorCode.IDENTITY_MISMATCH,
            f"the {label} block is from {short_id(found.hex())}…, not from the expected {short_id(expected)}…",
            "did somebody else send it? Compare `irosh identity show` on the other machine",
        )


def _check_mode(label: str, found: str, expected: str) -> None:
    if found != expected:
        raise _mismatch(
            f"the {label} block is of mode {quoted(found)}, this side runs mode {quoted(expected)}",
            f"run both sides with the same mode: --mode {expected}",
        )


def _check_expiry(label: str, expires_at: int, now: float) -> None:
    late = now - expires_at
    if late > CLOCK_SKEW:
        ago = format_duration(min(round(late), 10**9))
        raise IroshError(
            ErrorCode.BLOCK_EXPIRED,
            f"the {label} block expired {ago} ago",
            "exchange new ones; if it is new, is the clock of both machines right?",
        )


def _own(label: str) -> IroshError:
    what = "OFFER" if label == OFFER else "ANSWER"
    return _mismatch(f"this is this machine's own {what}", "paste what the other side printed")


def _other_kind(wanted: str) -> IroshError:
    found = ANSWER if wanted == OFFER else OFFER
    return _mismatch(
        f"this is an {found}, an {wanted} is wanted here",
        "one side hosts (it prints the OFFER), the other connects (it prints the ANSWER)",
    )


def _mismatch(message: str, hint: str) -> IroshError:
    return IroshError(ErrorCode.BLOCK_MISMATCH, message, hint)


def _checksum(sealed: bytes) -> bytes:
    return hashlib.sha256(_TAG + sealed).digest()[:_CHECKSUM_SIZE]
