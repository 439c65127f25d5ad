"""Ways to a peer through other machines: which was asked for, and links that go by one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.hops import MAX_HOPS, PeerStop, Stop, check_loops, parse_way
from irosh.core.ticket import parse_target
from irosh.core.trust import TrustStore
from irosh.node.machine_names import hops_with_gateways
from irosh.node.target_request import TargetRequest
from irosh.rendezvous.carried import Carriage, Carried, CarriedConnections
from irosh.rendezvous.interfaces import Exchange
from irosh.transport.interfaces import Stream

DEADLINE = 60.0
"""Seconds from one station to the next."""

GUEST_DEPTH = MAX_HOPS + 1
"""Of those that others bring: whoever brings them may have come through links of ours."""


@dataclass(frozen=True)
class Way:
    """Through ``hops``, in order. Two ways are one if the ``places`` are the same.

    ``asked``: how to meet the first, and who answers what is asked on the way; by ``exchange``, for as long as a
    command waits.
    """

    places: tuple[Stop, ...]
    hops: tuple[Stop, ...] = field(compare=False)
    asked: TargetRequest = field(compare=False)
    exchange: Exchange | None = field(compare=False, default=None)


@dataclass(frozen=True)
class Passage:
    """A way that was gone. ``names``: of its hops. ``blame``: says in an error where on the way it came from."""

    carriage: Carriage
    names: tuple[str, ...]
    blame: Callable[[IroshError], IroshError]


Travel = Callable[[Way, str], Awaitable[Passage]]
"""Goes a way to the node with that id: a stream to what lets guests in there."""


class Through:
    """The connections of a node that go through others: those it dials, and those that others bring."""

    def __init__(self, secret: bytes, travel: Travel) -> None:
        self._travel = travel
        self._carried = CarriedConnections(secret)

    async def dial(self, way: Way, peer_id: str) -> tuple[Carried, Passage]:
        """``IroshError`` that names the hop."""
        passage = await self._travel(way, peer_id)
        try:
            async with asyncio.timeout(DEADLINE):
                return await self._carried.dial(passage.carriage, peer_id), passage
        except TimeoutError:
            raise passage.blame(IroshError(ErrorCode.TIMEOUT, f"no answer within {DEADLINE:g} s")) from None
        except IroshError as error:
            raise passage.blame(error) from None

    async def accept(self, stream: Stream, through: str) -> Carried:
        """Whoever the peer named ``through`` brings on ``stream``. ``IroshError`` when nobody comes."""

        def broken() -> IroshError:
            return IroshError(ErrorCode.CONNECTION_LOST, f"the way through {through} broke off")

        async def release() -> None:
            """The stream is the service's."""

        return await self._carried.accept(Carriage(stream, shown_way((through,)), GUEST_DEPTH, broken, release))

    async def close(self, end: Callable[[int], None]) -> None:
        """End all, the deepest first: what they are told last goes by the others. ``end`` closes those of one depth."""
        for depth in self._carried.depths():
            end(depth)
            await self._carried.close(depth)


def shown_way(names: Sequence[str]) -> str:
    """As it stands where a network path has an address."""
    return f"through {','.join(names)}"


def resolve_way(trust: TrustStore, own_id: str, asked: TargetRequest, exchange: Exchange | None) -> Way | None:
    """The way that is asked for, if one is. ``IroshError``: usage (it makes no sense), unknown-target."""
    if not asked.jump:
        return None
    way = parse_way(hops_with_gateways(trust, asked), PeerStop(asked.target))
    return Way(places_of(trust, own_id, way)[:-1], way[:-1], asked, exchange)


def places_of(trust: TrustStore, own_id: str, stops: Sequence[Stop]) -> tuple[Stop, ...]:
    """``stops`` with one spelling for each node. ``IroshError`` (usage) for a way that comes to one of them twice."""
    places = tuple(_resolved(trust, own_id, stop) for stop in stops)
    check_loops(places)
    return places


def _resolved(trust: TrustStore, own_id: str, stop: Stop) -> Stop:
    if isinstance(stop, PeerStop):
        with contextlib.suppress(IroshError):
            return PeerStop(known_peer_id(trust, own_id, stop.target))
    return stop


def known_peer_id(trust: TrustStore, own_id: str, target: str) -> str:
    """The identity that ``target`` means: of a peer, or in an id or a ticket. ``IroshError`` (unknown-target, …)."""
    ticket = parse_target(target)
    if ticket is not None:
        peer_id = ticket.endpoint_id
    else:
        peer = trust.find(target)
        if peer is None:
            raise IroshError(
                ErrorCode.UNKNOWN_TARGET,
                f"no peer is named {target[:64]!r}, so its key could not be checked behind a hop",
                "name it first: irosh peer add ID --name NAME; its ID is what `irosh identity show` says there",
            )
        peer_id = peer.id
    if peer_id == own_id:
        raise IroshError(ErrorCode.UNKNOWN_TARGET, "that is this machine itself", "use it on another machine")
    return peer_id
