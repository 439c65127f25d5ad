"""The one place where it is decided what a peer may do. Deny by default; every decision is audited."""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import ip_address

from irosh.core.addresses import parse_ip
from irosh.core.capability import GATEWAY_SCHEME, Capability, SocketKind, SocketSpec
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.file_tree import FileTree
from irosh.core.policy import (
    PlainCapability,
    file_trees,
    may_permit,
    permits,
    permits_joining,
    permits_packet,
    permits_unix,
    permits_user,
    permitted_addresses,
)
from irosh.core.socket_spec import bracketed
from irosh.core.trust import TrustStore
from irosh.core.wording import escape
from irosh.node.audit import Auditor
from irosh.node.verification import FactorGate, Verification

log = logging.getLogger(__name__)

RESOLVE_DEADLINE = 10.0
MAX_RESOLVING = 8
PACKET_DECISION = 1.0  # seconds for which it holds
MAX_DESTINATIONS = 4096  # of one peer, within that time
MAX_REFUSALS_TOLD = 100  # addresses in the audit, of one use of the service
TOKEN_SIZE = 16


@dataclass(frozen=True)
class Use:
    """One of the plain capabilities; with several names any one of them is enough."""

    names: tuple[PlainCapability, ...]

    def __str__(self) -> str:
        return "|".join(self.names)


@dataclass(frozen=True)
class Enter:
    """Begin what asks for second factors itself, such as SSH's authentication: any one of these is enough."""

    names: tuple[PlainCapability, ...]

    def __str__(self) -> str:
        return "|".join(self.names)


@dataclass(frozen=True)
class AsUser:
    """Act as Unix user ``name`` on the host."""

    name: str

    def __str__(self) -> str:
        return f"user:{self.name}"


@dataclass(frozen=True)
class Files:
    """Use files on the host; :attr:`Grant.trees` says which. ``how`` is for the audit: sftp, scp, ..."""

    how: str = ""

    def __str__(self) -> str:
        return f"files ({self.how})" if self.how else "files"


@dataclass(frozen=True)
class Reach:
    """Connect to (``forward``; ``gateway``: for SSH only) or bind (``listen``) a socket on the host."""

    kind: SocketKind
    spec: SocketSpec

    def __str__(self) -> str:
        if self.kind == "gateway":
            return f"gateway:{GATEWAY_SCHEME}://{bracketed(self.spec.host)}:{self.spec.port}"
        return f"{self.kind}:{self.spec}"


@dataclass(frozen=True)
class BringBack:
    """Bring a connection that this node asked the peer to wait for: ``token`` is what it gave out when it asked."""

    token: bytes = field(repr=False)
    listen: str
    """Where the peer says that it took the connection."""

    def __str__(self) -> str:
        return f"forwarded:{escape(self.listen, 200)}"


@dataclass(frozen=True)
class Join:
    """Take part in the shared session with the id ``session``."""

    session: str

    def __str__(self) -> str:
        return f"join:{self.session}"


Immediate = Use | Enter | AsUser | Files | Join | BringBack
"""Actions that need no name resolved."""
Action = Immediate | Reach


@dataclass(frozen=True)
class Grant:
    """A granted action.

    ``addresses``: for :class:`Reach`, the only addresses that may be used; never resolve again.
    ``trees``: for :class:`Files`, the only trees that may be used; never none.
    """

    action: Action
    addresses: tuple[str, ...] = ()
    trees: tuple[FileTree, ...] = ()

    def sockets(self) -> list[SocketSpec]:
        """For :class:`Reach`: the sockets that may be used."""
        assert isinstance(self.action, Reach)
        spec = self.action.spec
        if spec.protocol == "unix":
            return [replace(spec, path=self.addresses[0])]
        return [replace(spec, host=address) for address in self.addresses]


class PacketFilter:
    """Whether packets may go to an address. What it has found holds for a second, as there are many packets."""

    def __init__(self, capabilities: Callable[[], Sequence[Capability]], refused: Callable[[str], None]) -> None:
        self._capabilities = capabilities
        self._refused = refused
        self._known: dict[bytes, bool] = {}
        self._until = 0.0
        self._told: dict[bytes, None] = {}

    def permits(self, destination: bytes) -> bool:
        """``destination``: four or sixteen bytes. The first refusal of an address is audited, of so many addresses."""
        now = time.monotonic()
        if now >= self._until or len(self._known) >= MAX_DESTINATIONS:
            self._known.clear()
            self._until = now + PACKET_DECISION
        known = self._known.get(destination)
        if known is None:
            address = ip_address(destination)
            known = self._known[destination] = permits_packet(self._capabilities(), address)
            if not known and destination not in self._told and len(self._told) < MAX_REFUSALS_TOLD:
                self._told[destination] = None
                self._refused(str(address))
        return known


class Authorizer:
    """Decides by the trust store, looked up anew for every action, so that a change holds at once.

    ``verification``: what the session has given besides its identity. Without it a peer of which second factors are
    required may do nothing.
    """

    def __init__(self, trust: TrustStore, auditor: Auditor, gate: FactorGate) -> None:
        self._trust = trust
        self._auditor = auditor
        self.gate = gate
        # Name look-ups run in threads that all peers share.
        self._resolving = asyncio.Semaphore(MAX_RESOLVING)
        self._promised: dict[str, set[bytes]] = {}

    async def authorize(self, peer_id: str, action: Action, verification: Verification | None = None) -> Grant:
        """Grant ``action`` to the peer, or raise ``IroshError``.

        Its codes: denied; factor-required; target-unreachable for unknown names.
        """
        if not isinstance(action, Reach):
            return self.authorize_now(peer_id, action, verification)
        with self._audited(peer_id, action):
            self.gate.check(peer_id, verification)
            if not may_permit(self._capabilities(peer_id), action.kind, action.spec):
                raise _denied(action)  # a peer without any such capability cannot make this host look up names
            async with self._resolving:
                where = await _where(action.spec)
            return _decide_reach(self._capabilities(peer_id), action, where)

    @contextmanager
    def promise(self, peer_id: str) -> Iterator[bytes]:
        """A fresh token, with which the peer may :class:`BringBack` connections while the context lasts.

        It is no capability: the peer may do nothing else by it, and no other peer anything.
        """
        token = secrets.token_bytes(TOKEN_SIZE)
        tokens = self._promised.setdefault(peer_id, set())
        tokens.add(token)
        try:
            yield token
        finally:
            tokens.discard(token)
            if not tokens and self._promised.get(peer_id) is tokens:
                del self._promised[peer_id]

    def authorize_now(self, peer_id: str, action: Immediate, verification: Verification | None = None) -> Grant:
        """As :meth:`authorize`, for actions that need no name resolved."""
        with self._audited(peer_id, action):
            if not isinstance(action, Enter | BringBack):  # that was promised by this node's user
                self.gate.check(peer_id, verification)
            if isinstance(action, Files):
                if trees := file_trees(self._capabilities(peer_id)):
                    return Grant(action, trees=trees)
                raise _denied(action)
            if not self.permits(peer_id, action):
                raise _denied(action)
            return Grant(action)

    def would_grant(self, peer_id: str, action: Immediate) -> bool:
        """As :meth:`permits`, with what is required of the peer besides: for an identity that is only claimed yet."""
        try:
            self.gate.check(peer_id, None)
        except IroshError:
            return False
        return self.permits(peer_id, action)

    def packet_filter(self, peer_id: str) -> PacketFilter:
        """Decides about the packets that a peer sends through this host."""
        return PacketFilter(lambda: self._capabilities(peer_id), partial(self._packet_refused, peer_id))

    def _packet_refused(self, peer_id: str, destination: str) -> None:
        self._auditor.record("use", peer_id, "refused", f"vpn:{destination}: this peer may not send packets there")

    def permits(self, peer_id: str, action: Immediate) -> bool:
        """Whether :meth:`authorize_now` would grant it. Nothing is used, so the audit does not say so."""
        capabilities = self._capabilities(peer_id)
        if isinstance(action, BringBack):
            promised = self._promised.get(peer_id, ())
            return any(hmac.compare_digest(action.token, token) for token in promised)
        if isinstance(action, Use | Enter):
            return any(permits(capabilities, name) for name in action.names)
        if isinstance(action, Join):
            return permits_joining(capabilities, action.session)
        if isinstance(action, Files):
            return bool(file_trees(capabilities))
        return permits_user(capabilities, action.name)

    def _capabilities(self, peer_id: str) -> Sequence[Capability]:
        peer = self._trust.active(peer_id)
        return peer.capabilities if peer else ()

    @contextmanager
    def _audited(self, peer_id: str, action: Action) -> Iterator[None]:
        try:
            yield
        except IroshError as error:
            self._auditor.record("use", peer_id, "refused", f"{action}: {error.message}")
            raise
        if not (
            isinstance(action, Enter) or (isinstance(action, Use) and len(action.names) > 1)
        ):  # a way in, not a use: what is used is checked again
            self._auditor.record("use", peer_id, "used", str(action))


def _decide_reach(capabilities: Sequence[Capability], action: Reach, where: Sequence[str]) -> Grant:
    spec = action.spec
    if spec.protocol == "unix":
        if permits_unix(capabilities, action.kind, where[0]):
            return Grant(action, tuple(where))
    elif addresses := permitted_addresses(capabilities, action.kind, spec, where):
        return Grant(action, tuple(addresses))
    raise _denied(action)


def _denied(action: Action) -> IroshError:
    if action == Use(("join",)) or isinstance(action, Join):
        return IroshError(
            ErrorCode.DENIED, "this peer may join no session here", "ask for a ticket: irosh share prints one"
        )
    if isinstance(action, BringBack):
        return IroshError(ErrorCode.DENIED, "nobody here waits for such a connection")
    wanted = (
        action.names[0] if isinstance(action, Use | Enter) else "files" if isinstance(action, Files) else str(action)
    )
    return IroshError(
        ErrorCode.DENIED,
        f"this peer may not use {wanted}",
        f"the host's owner can allow it: irosh peer allow NAME '{wanted}'",
    )


async def _where(spec: SocketSpec) -> list[str]:
    """The addresses, or the real path, behind ``spec``. The policy is about what is reached, not what it is called."""
    if spec.protocol == "unix":
        return [await asyncio.to_thread(os.path.realpath, spec.path)]
    return await resolve(spec)


async def resolve(spec: SocketSpec) -> list[str]:
    """The addresses behind ``spec.host``, before any policy looks at them; none for an IP address, which is its own.

    ``IroshError`` (target-unreachable).
    """
    if parse_ip(spec.host) is not None:
        return []
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_DEADLINE):
            infos = await loop.getaddrinfo(spec.host, spec.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError) as error:
        reason = "the name server did not answer" if isinstance(error, TimeoutError) else "the name is unknown there"
        raise IroshError(ErrorCode.TARGET_UNREACHABLE, f"cannot resolve {spec.host}: {reason}") from None
    return list(dict.fromkeys(str(info[4][0]) for info in infos))
