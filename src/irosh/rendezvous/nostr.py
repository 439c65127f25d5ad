"""``nostr``: full ICE, offers and answers end-to-end encrypted over Nostr relays."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.network_options import DEFAULT_NOSTR_RELAYS, NetworkOptions
from irosh.core.nostr_key import NostrKey, parse_npub
from irosh.core.nostr_signal import Answer, Content, Parties, Refusal, Signal, open_signal, seal
from irosh.rendezvous.ice_session import IceSession
from irosh.rendezvous.interfaces import Contact, Exchange, Hosting, Meeting
from irosh.rendezvous.nostr_channel import NostrChannel, problems, wait_tried
from irosh.rendezvous.nostr_dial import NostrDial, new_session
from irosh.rendezvous.nostr_host import NostrHost, Receiver, Session
from irosh.rendezvous.nostr_link import RelayLink
from irosh.rendezvous.relay_fallback import RelayFallback
from irosh.transport.interfaces import Connection
from irosh.transport.tasks import TaskSet, to_the_end

log = logging.getLogger(__name__)

RELAY_DEADLINE = 3.0


class Nostr:
    """A node's part in mode nostr: made by :meth:`start`."""

    def __init__(
        self, identity: Identity, key: NostrKey, options: NetworkOptions, fallback: RelayFallback | None
    ) -> None:
        self._identity = identity
        self._key = key
        self._options = options
        self._own_fallback = RelayFallback(identity.secret, options) if fallback is None else None
        self._fallback = fallback or self._own_fallback
        self._channel = NostrChannel(key, self._received)
        self._host: NostrHost | None = None
        self._links: list[RelayLink] = []
        self._dials: dict[bytes, NostrDial] = {}
        self._tasks = TaskSet()
        self._stack = AsyncExitStack()

    @classmethod
    async def start(
        cls,
        identity: Identity,
        options: NetworkOptions,
        hosting: Hosting | None = None,
        fallback: RelayFallback | None = None,
    ) -> Nostr:
        """``hosting``: let peers in, connected to the Nostr relays of ``options`` all the time. One that only dials
        is connected to relays only while it does. ``fallback`` stays the caller's; without one it has its own.

        Raises:
            IroshError: ``KEY_UNSAFE``, ``KEY_INVALID`` of the file with the Nostr key; ``USAGE`` without a relay.
        """
        own_file = options.nsec_file
        key = NostrKey.derive(identity.secret) if own_file is None else NostrKey.load(own_file)
        nostr = cls(identity, key, options, fallback)
        if hosting is not None:
            await nostr._serve(hosting)
        return nostr

    @property
    def npub(self) -> str:
        """The Nostr key by which peers find this node."""
        return self._key.npub

    @property
    def sessions(self) -> int:
        """How many receivers this host serves now."""
        return self._host.sessions if self._host is not None else 0

    def contact(self) -> Contact:
        return Contact(self._identity.id, npub=self._key.npub, nostr_relays=self._options.nostr_relays)

    async def problems(self) -> list[IroshError]:
        return problems(self._links)

    async def accept(self) -> Connection | None:
        return await self._host.accept() if self._host is not None else None

    async def dial(self, contact: Contact, exchange: Exchange | None = None) -> Meeting:
        npub = self._checked_npub(contact)
        self._channel.befriend(npub)
        session_id = new_session()
        async with self._channel.using(self._relays_for(contact)) as links:  # they connect while we gather
            session = await self._gather(controlling=True)
            recipient = None if contact.endpoint_id is None else bytes.fromhex(contact.endpoint_id)

            def send(content: Content) -> None:
                self._send(links, npub, session_id, content, recipient)

            dial = NostrDial(npub, contact, links, send)
            self._dials[session_id] = dial
            try:
                connection = await dial.run(session)
            except BaseException:
                await to_the_end(session.close())
                raise
            finally:
                del self._dials[session_id]
        self._tasks.start(_hold(session))
        return Meeting(connection)

    async def close(self) -> None:
        if self._host is not None:
            await self._host.close()
        await self._tasks.close()
        if self._own_fallback is not None:
            await self._own_fallback.close()
        await self._stack.aclose()
        await self._channel.close()

    async def _serve(self, hosting: Hosting) -> None:
        if not self._options.nostr_relays:
            raise _no_relay()
        self._links = await self._stack.enter_async_context(self._channel.using(self._options.nostr_relays))
        self._host = NostrHost(
            self._identity.public,
            hosting,
            self._reply,
            lambda: self._gather(controlling=False),
            self._options.max_sessions,
        )
        await wait_tried(self._links, RELAY_DEADLINE)

    async def _gather(self, *, controlling: bool) -> Session:
        return await IceSession.gather(
            self._identity.secret, self._options, controlling=controlling, fallback=self._fallback
        )

    def _reply(self, receiver: Receiver, content: Content) -> None:
        self._send(self._links, receiver.npub, receiver.session, content, receiver.id)

    def _send(
        self, links: Iterable[RelayLink], npub: bytes, session: bytes, content: Content, recipient: bytes | None
    ) -> None:
        parties = Parties(self._key.public, npub)
        payload = seal(self._identity, parties, session, content, now=time.time(), recipient=recipient)
        self._channel.send(links, npub, payload)

    def _received(self, npub: bytes, payload: bytes) -> None:
        try:
            signal = open_signal(payload, Parties(npub, self._key.public))
        except IroshError as error:
            log.info("signalling message ignored: %s", error.message)
            return
        self._dispatch(npub, signal)

    def _dispatch(self, npub: bytes, signal: Signal) -> None:
        if isinstance(signal.content, Answer | Refusal):
            if (dial := self._dials.get(signal.session)) is not None:
                dial.received(npub, signal)
        elif self._host is not None:
            self._host.received(npub, signal)
            if self._host.serves(signal.sender):
                self._channel.befriend(npub)

    def _checked_npub(self, contact: Contact) -> bytes:
        if contact.npub is None:
            raise IroshError(
                ErrorCode.UNKNOWN_TARGET,
                "no npub is known for this peer",
                "connect with its npub (`irosh nostr key` there), or with a ticket of `irosh host --mode nostr`",
            )
        npub = parse_npub(contact.npub)
        if npub == self._key.public:
            raise IroshError(ErrorCode.UNKNOWN_TARGET, "this is the npub of this machine itself")
        return npub

    def _relays_for(self, contact: Contact) -> tuple[str, ...]:
        """Where the peer says that it is; and where the user says, unless that is nothing but the default."""
        own = self._options.nostr_relays
        if contact.nostr_relays:
            own = () if own == DEFAULT_NOSTR_RELAYS else own
        relays = tuple(dict.fromkeys([*contact.nostr_relays, *own]))
        if not relays:
            raise _no_relay()
        return relays


async def _hold(session: Session) -> None:
    """Until its connection ends, or we do."""
    try:
        await session.wait_closed()
    finally:
        await to_the_end(session.close())


def _no_relay() -> IroshError:
    return IroshError(ErrorCode.USAGE, "mode nostr needs a Nostr relay", "name one with --nostr-relay")
