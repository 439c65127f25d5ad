"""The ICE agent of one session (RFC 8445): aioice's checks, with regular nomination and an agreed end.

What differs from aioice's own ``connect``: the controlling side nominates one pair, direct ones before those by a TURN
server, so that both sides choose the same; failed checks are repeated while the peer may still be on its way (somebody
carries its answer by hand); and both sides agree on when the sockets change hands, because QUIC takes them over.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Sequence
from contextlib import suppress

from aioice import stun
from aioice.candidate import Candidate
from aioice.ice import CandidatePair, Connection, StunProtocol
from aioice.utils import random_string

from irosh.core.ice_description import IceDescription
from irosh.transport.tasks import first_to_end

log = logging.getLogger(__name__)

NEGOTIATION_DEADLINE = 10.0  # seconds from the first word of the peer
DIRECT_PHASE = 2.0  # after it, pairs by TURN are good enough
HOPELESS_DEADLINE = 4.0
HOPELESS_DIRECT_PHASE = 0.3
BETTER_PAIR = 0.06  # how long the first pair that works waits for one of higher priority
RETRIES = 2  # of one check: after 0.5 and 1.5 s; it has failed after 3.5 s
RETRY_PAUSE = 1.0  # before a failed pair is checked again
LONG_RETRY_PAUSE = 4.0  # the same, once the peer has been silent for long
SWITCH_DEADLINE = 1.0
SWITCH_INTERVAL = 0.05

_State = CandidatePair.State
# Neither STUN nor, by its first byte, anything QUIC sends.
_SWITCH = b"\x50irosh-switch"


class IceAgent(Connection):
    """One component, one check list. :meth:`negotiate` finds the pair, :meth:`switch` agrees on its hand-over."""

    def __init__(self, *, controlling: bool) -> None:
        super().__init__(controlling, local_username=random_string(8), local_password=random_string(24))
        self.heard = asyncio.Event()
        """Set once the peer has proven to be there, on any pair."""
        self._deadline = NEGOTIATION_DEADLINE
        self._direct_phase = DIRECT_PHASE
        self._heard_at = 0.0
        self._valid_at = 0.0
        self._progress = asyncio.Event()
        self._under_way: dict[CandidatePair, stun.Message] = {}
        self._answered: dict[CandidatePair, bytes] = {}
        self._failed_at: dict[CandidatePair, float] = {}
        self._selected: asyncio.Future[CandidatePair] | None = None
        self._peer_choice: CandidatePair | None = None
        self._switched = asyncio.Event()
        self._started_at = 0.0

    # --- local candidates

    async def bind(self, addresses: Sequence[str]) -> None:
        """One UDP socket on each of ``addresses``; those that cannot be bound are left out."""
        self._local_candidates_start = True
        self._local_candidates = await self.get_component_candidates(1, list(addresses))
        self._local_candidates_end = True

    @property
    def bases(self) -> list[StunProtocol]:
        """What was bound, and what :meth:`add_relayed` added."""
        return list(self._protocols)

    def add_relayed(self, protocol: StunProtocol) -> None:
        """Use an allocation of a TURN server as well. Before :meth:`negotiate`."""
        self._protocols.append(protocol)
        self._local_candidates.append(protocol.local_candidate)

    # --- the search for a pair

    async def negotiate(self, remote: IceDescription, *, patience: float, hopeless: bool = False) -> CandidatePair:
        """The pair that both sides choose. ``TimeoutError`` when there is none.

        ``patience`` is how many seconds the peer may take to show up; from its first word on, there are 10, or less
        when it is ``hopeless``: only a pair inside one network, or by TURN, can work.
        """
        if hopeless:
            self._direct_phase, self._deadline = HOPELESS_DIRECT_PHASE, HOPELESS_DEADLINE
        loop = asyncio.get_running_loop()
        self._started_at = loop.time()
        self._selected = loop.create_future()
        self.remote_username, self.remote_password = remote.ufrag, remote.pwd
        for line in remote.candidates:
            await self.add_remote_candidate(Candidate.from_sdp(line))
        choose = self._nominate() if self.ice_controlling else self._be_nominated()
        async with asyncio.timeout(patience + self._deadline) as deadline:
            pair: CandidatePair = await first_to_end(choose, self._check(), self._limit(deadline))
        return pair

    async def _check(self) -> None:
        # The end of candidates is never signalled, so aioice keeps checking until it is stopped.
        await first_to_end(self._repeat_failed(), self._connect())

    async def _connect(self) -> None:
        await self.connect()
        await asyncio.Event().wait()  # whatever it thinks, the pair is chosen elsewhere

    async def _limit(self, deadline: asyncio.Timeout) -> None:
        await self.heard.wait()
        deadline.reschedule(asyncio.get_running_loop().time() + self._deadline)
        await asyncio.Event().wait()

    async def _repeat_failed(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            silent = not self.heard.is_set() and now - self._started_at > NEGOTIATION_DEADLINE
            pause = LONG_RETRY_PAUSE if silent else RETRY_PAUSE
            for pair in self._check_list:
                if pair.state is _State.FAILED and now - self._failed_at.get(pair, 0.0) > pause:
                    self.check_state(pair, _State.WAITING)
            await asyncio.sleep(0.1)

    async def _nominate(self) -> CandidatePair:
        loop = asyncio.get_running_loop()
        while True:
            self._progress.clear()
            pair = self._best_valid()
            wait = None if pair is None else self._not_before(pair) - loop.time()
            if pair is None or (wait is not None and wait > 0):
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._progress.wait()
            elif await self._confirmed(pair):
                log.debug("%s nominated", pair)
                return pair

    async def _be_nominated(self) -> CandidatePair:
        assert self._selected is not None
        return await self._selected

    def _best_valid(self) -> CandidatePair | None:
        valid = [pair for pair in self._check_list if pair.state is _State.SUCCEEDED]
        return min(valid, key=self.is_relayed, default=None)  # the check list is in order of priority

    def _not_before(self, pair: CandidatePair) -> float:
        if self.is_relayed(pair):
            return self._heard_at + self._direct_phase
        return self._valid_at if pair is self._check_list[0] else self._valid_at + BETTER_PAIR

    def is_relayed(self, pair: CandidatePair) -> bool:
        """Whether a TURN server, of either side, is between."""
        if pair.local_candidate.type == "relay" or pair.remote_candidate.type == "relay":
            return True
        relays = [candidate for candidate in self._remote_candidates if candidate.type == "relay"]
        return any((candidate.host, candidate.port) == pair.remote_addr for candidate in relays)

    async def _confirmed(self, pair: CandidatePair) -> bool:
        """Nominate ``pair`` (RFC 8445 section 8.1.1)."""
        if await self._request(pair, nominate=True):
            pair.nominated = True
            return True
        self._fail(pair)
        return False

    async def check_start(self, pair: CandidatePair) -> None:
        """A check that does not nominate; aioice calls this."""
        self.check_state(pair, _State.IN_PROGRESS)
        if not await self._request(pair, nominate=False):
            self._fail(pair)
            return
        self._hear()
        self._valid_at = self._valid_at or asyncio.get_running_loop().time()
        pair.nominated = pair.remote_nominated
        self.check_state(pair, _State.SUCCEEDED)
        self.check_complete(pair)
        self._progress.set()

    def _fail(self, pair: CandidatePair) -> None:
        self._failed_at[pair] = asyncio.get_running_loop().time()
        self.check_state(pair, _State.FAILED)
        self.check_complete(pair)

    def check_complete(self, pair: CandidatePair) -> None:
        """Hear of a pair that the peer nominated and that works from here as well; aioice calls this."""
        super().check_complete(pair)
        if pair.nominated and pair.state is _State.SUCCEEDED:
            self._select(pair)

    async def _request(self, pair: CandidatePair, *, nominate: bool) -> bool:
        assert self.remote_password is not None
        request = self.build_request(pair, nominate=nominate)
        key = self.remote_password.encode()
        self._under_way[pair] = request
        try:
            _, source = await pair.protocol.request(
                request, pair.remote_addr, integrity_key=key, retransmissions=RETRIES
            )
        except stun.TransactionError:
            return False
        finally:
            self._under_way.pop(pair, None)
        return source == pair.remote_addr  # else something on the way is not as it seems (section 7.2.5.2.1)

    def check_incoming(self, message: stun.Message, addr: tuple[str, int], protocol: StunProtocol) -> None:
        """An authenticated check of the peer; aioice calls this."""
        if "PRIORITY" not in message.attributes:
            return
        self._hear()
        self._check_again(message, addr, protocol)
        super().check_incoming(message, addr, protocol)
        if "USE-CANDIDATE" in message.attributes and not self.ice_controlling:
            self._peer_choice = next(
                (pair for pair in self._check_list if pair.protocol is protocol and pair.remote_addr == addr), None
            )

    def request_received(self, message: stun.Message, addr: tuple[str, int], protocol: StunProtocol) -> None:
        """A request; aioice calls this. Unanswered until we know of the session, or the peer would think us ready."""
        if self.remote_password is not None:
            super().request_received(message, addr, protocol)

    def _check_again(self, message: stun.Message, addr: tuple[str, int], protocol: StunProtocol) -> None:
        """Send a check in progress once more: it may have met the peer's NAT before the peer opened that (7.3.1.4)."""
        for pair, request in self._under_way.items():
            if pair.protocol is protocol and pair.remote_addr == addr:
                if self._answered.get(pair) != message.transaction_id:
                    self._answered[pair] = message.transaction_id
                    protocol.send_stun(request, addr)
                return

    def switch_role(self, ice_controlling: bool) -> None:
        """Roles are given by who offers and who answers; who claims ours is not the peer. aioice calls this."""
        log.debug("role conflict ignored")

    async def query_consent(self) -> None:
        """Nothing: QUIC, which takes over, has its own liveness."""

    def _hear(self) -> None:
        if not self.heard.is_set():
            self._heard_at = asyncio.get_running_loop().time()
            self.heard.set()

    def _select(self, pair: CandidatePair) -> None:
        if self._selected is not None and not self._selected.done():
            self._selected.set_result(pair)

    # --- the hand-over

    async def switch(self, pair: CandidatePair) -> None:
        """Agree with the peer that ``pair`` is handed over to QUIC now.

        The controlling side says so until it is confirmed, or long enough; the other waits to hear it.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(SWITCH_DEADLINE if self.ice_controlling else NEGOTIATION_DEADLINE):
                while not self._switched.is_set():
                    if self.ice_controlling:
                        await pair.protocol.send_data(self._switch_message(mine=True), pair.remote_addr)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(SWITCH_INTERVAL):
                            await self._switched.wait()

    def data_received(self, data: bytes, component: int) -> None:
        """A packet that is no STUN; aioice calls this."""
        if not data.startswith(_SWITCH):
            return
        if not hmac.compare_digest(data, self._switch_message(mine=False)):
            return
        self._switched.set()
        choice = self._peer_choice
        if not self.ice_controlling and choice is not None:
            self._select(choice)  # our own check may have been lost; the peer's was not
            for _ in range(2):  # one may be lost, and after this nobody answers
                choice.protocol.transport.sendto(self._switch_message(mine=True), choice.remote_addr)

    def _switch_message(self, *, mine: bool) -> bytes:
        from_controlling = self.ice_controlling is mine
        passwords = (self.local_password, self.remote_password or "")
        key = "|".join(passwords if self.ice_controlling else reversed(passwords))
        return _SWITCH + hmac.digest(key.encode(), b"\1" if from_controlling else b"\0", hashlib.sha256)

    def detach(self, base: StunProtocol) -> StunProtocol:
        """Keep a socket out of :meth:`close`; the caller closes it."""
        self._protocols.remove(base)
        return base
