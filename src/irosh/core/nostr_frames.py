"""What a Nostr client and a relay say to each other (NIP-01, NIP-42), as text of WebSocket messages. Pure.

Only what signalling needs: one subscription, events of one kind. A message that is none of these is None.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

EPHEMERAL_KINDS = range(20_000, 30_000)
EVENT_KIND = 25737
"""Of signalling events. Ephemeral: relays pass them on and do not store them."""
AUTH_KIND = 22242
SUBSCRIPTION = "irosh"
MAX_FRAME = 64 * 1024
"""Characters of a message from a relay."""
MAX_CONTENT = 32 * 1024
"""Characters of an event's content."""
_MAX_TAGS = 16
_MAX_TEXT = 200
_ID_SIZE = 64
_SIGNATURE_SIZE = 128
_HEX = frozenset("0123456789abcdef")


class EventFields(msgspec.Struct):
    """An event (NIP-01). What it says of itself: nothing is verified yet."""

    id: str
    pubkey: str
    created_at: int
    kind: int
    tags: list[list[str]]
    content: str
    sig: str


@dataclass(frozen=True)
class EventMessage:
    """An event for our subscription. ``text``: its JSON, as it came."""

    event: EventFields
    text: str


@dataclass(frozen=True)
class Verdict:
    """OK: whether the relay took an event of ours. ``reason``: why not, in its words."""

    event_id: str
    accepted: bool
    reason: str


@dataclass(frozen=True)
class Subscribed:
    """EOSE: the relay has taken our subscription."""


@dataclass(frozen=True)
class Unsubscribed:
    """CLOSED: the relay has ended our subscription."""

    reason: str


@dataclass(frozen=True)
class Challenge:
    """AUTH (NIP-42): the relay wants to know who we are."""

    text: str


@dataclass(frozen=True)
class Notice:
    """NOTICE: something the relay has to say to people."""

    text: str


RelayMessage = EventMessage | Verdict | Subscribed | Unsubscribed | Challenge | Notice

_array = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)
_event = msgspec.json.Decoder(EventFields)
_flag = msgspec.json.Decoder(bool)


def parse(message: str | bytes) -> RelayMessage | None:
    """What a relay says; None for what is malformed, too large or of no interest here."""
    if len(message) > MAX_FRAME:
        return None
    try:
        return _parse(_array.decode(message))
    except (msgspec.MsgspecError, UnicodeDecodeError, IndexError, RecursionError):
        return None


def is_signalling_for(event: EventFields, recipient: str) -> bool:
    """Whether an event can be signalling for the Nostr key ``recipient`` (hexadecimal): its form, kind and tag."""
    return (
        event.kind == EVENT_KIND
        and 0 < len(event.content) <= MAX_CONTENT
        and len(event.tags) <= _MAX_TAGS
        and any(tag[:2] == ["p", recipient] for tag in event.tags)
        and _is_hex(event.id, _ID_SIZE)
        and _is_hex(event.pubkey, _ID_SIZE)
        and _is_hex(event.sig, _SIGNATURE_SIZE)
    )


def subscribe(recipient: str) -> str:
    """REQ for the signalling events for the Nostr key ``recipient``, from now on."""
    return _encoded(["REQ", SUBSCRIPTION, {"kinds": [EVENT_KIND], "#p": [recipient], "limit": 0}])


def publish(event: str) -> str:
    """EVENT, with the JSON of an event."""
    return f'["EVENT",{event}]'


def authenticate(event: str) -> str:
    """AUTH, with the JSON of an event of kind ``AUTH_KIND``."""
    return f'["AUTH",{event}]'


def _parse(parts: list[msgspec.Raw]) -> RelayMessage | None:
    kind = _text.decode(parts[0])
    if kind == "EVENT":
        if _text.decode(parts[1]) != SUBSCRIPTION:
            return None
        return EventMessage(_event.decode(parts[2]), bytes(parts[2]).decode())
    if kind == "OK":
        reason = _text.decode(parts[3]) if len(parts) > 3 else ""
        return Verdict(_text.decode(parts[1])[:_ID_SIZE], _flag.decode(parts[2]), reason[:_MAX_TEXT])
    if kind == "EOSE":
        return Subscribed() if _text.decode(parts[1]) == SUBSCRIPTION else None
    if kind == "CLOSED":
        if _text.decode(parts[1]) != SUBSCRIPTION:
            return None
        return Unsubscribed(_text.decode(parts[2])[:_MAX_TEXT] if len(parts) > 2 else "")
    if kind == "AUTH":
        return Challenge(_text.decode(parts[1])[:_MAX_TEXT])
    if kind == "NOTICE":
        return Notice(_text.decode(parts[1])[:_MAX_TEXT])
    return None


def _is_hex(text: str, length: int) -> bool:
    return len(text) == length and _HEX.issuperset(text)


def _encoded(message: object) -> str:
    return msgspec.json.encode(message).decode()
