"""The cryptography of Nostr, by nostr-sdk: events made and verified (NIP-01), contents encrypted (NIP-44)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from irosh.core import nostr_frames
from irosh.core.nostr_frames import EventMessage
from irosh.core.nostr_key import NostrKey


@dataclass(frozen=True)
class SealedEvent:
    """An event of ours. ``text``: its JSON."""

    id: str
    text: str


class NostrCipher:
    """Makes and opens events with one Nostr key."""

    def __init__(self, key: NostrKey) -> None:
        import nostr_sdk

        self._sdk: Any = nostr_sdk
        self._keys = nostr_sdk.Keys.parse(key.secret.hex())

    def seal(self, recipient: bytes, payload: bytes) -> SealedEvent:
        """A signed event for the Nostr key ``recipient`` that only it can read."""
        sdk = self._sdk
        # What NIP-44 encrypts is text.
        text = base64.b64encode(payload).decode()
        content = self._keys.nip44_encrypt(sdk.PublicKey.parse(recipient.hex()), text)
        return self._signed(nostr_frames.EVENT_KIND, content, [["p", recipient.hex()]])

    def authentication(self, relay: str, challenge: str) -> SealedEvent:
        """The answer to a relay's challenge (NIP-42)."""
        return self._signed(nostr_frames.AUTH_KIND, "", [["relay", relay], ["challenge", challenge]])

    def open(self, message: EventMessage) -> bytes | None:
        """The payload of an event whose id and signature are right and that is for us; else None."""
        sdk = self._sdk
        try:
            event = sdk.Event.from_json(message.text)
            if not event.verify() or event.author().to_hex() != message.event.pubkey:
                return None
            text = self._keys.nip44_decrypt(event.author(), event.content())
            return base64.b64decode(text, validate=True)
        except (sdk.NostrSdkError, binascii.Error, ValueError):
            return None

    def _signed(self, kind: int, content: str, tags: list[list[str]]) -> SealedEvent:
        sdk = self._sdk
        builder = sdk.EventBuilder(sdk.Kind(kind), content).tags([sdk.Tag.parse(tag) for tag in tags])
        event = builder.finalize(self._keys)
        return SealedEvent(event.id().to_hex(), event.as_json())
