"""What is kept to be sent again, against a model that keeps everything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from irosh.core.errors import ErrorCode, IroshError
from irosh.transport.session.replay import ALWAYS, ReplayBudget, ReplayLog

PER_STREAM, PER_SESSION = 200_000, 300_000


class ReplayMachine(RuleBasedStateMachine):
    """Two streams that share a budget."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = ReplayBudget(PER_STREAM, PER_SESSION)
        self.logs = [ReplayLog(self.budget), ReplayLog(self.budget)]
        self.sent = [b"", b""]
        self.acknowledged = [0, 0]
        self.dropped = [False, False]
        self.count = 0

    @rule(which=st.integers(0, 1), size=st.sampled_from([0, 1, 7, 100, 4095, 4096, 5000, 70_000]), view=st.booleans())
    def append(self, which: int, size: int, view: bool) -> None:
        if self.logs[which].finished or self.dropped[which]:
            return
        self.count += 1
        data = bytearray((self.count + index) & 0xFF for index in range(size))
        self.logs[which].append(memoryview(data) if view else data)
        self.sent[which] += bytes(data)
        data[:] = bytes(size)  # the log has a copy

    @rule(which=st.integers(0, 1), share=st.floats(0, 1))
    def acknowledge(self, which: int, share: float) -> None:
        if self.dropped[which]:
            return
        log = self.logs[which]
        offset = round(share * (len(self.sent[which]) + log.finished))
        assert log.acknowledge(offset) == (offset > self.acknowledged[which])
        self.acknowledged[which] = max(self.acknowledged[which], offset)

    @rule(which=st.integers(0, 1), beyond=st.integers(1, 1 << 62))
    def acknowledge_too_much(self, which: int, beyond: int) -> None:
        log = self.logs[which]
        with pytest.raises(IroshError) as refused:
            log.acknowledge(log.end + log.finished + beyond)
        assert refused.value.code is ErrorCode.PROTOCOL

    @rule(which=st.integers(0, 1), share=st.floats(0, 1), limit=st.sampled_from([1, 100, 4096, 256 * 1024]))
    def read(self, which: int, share: float, limit: int) -> None:
        if self.dropped[which]:
            return
        first = min(self.acknowledged[which], len(self.sent[which]))
        offset = first + round(share * (len(self.sent[which]) - first))
        assert self.logs[which].read(offset, limit) == self.sent[which][offset : offset + limit]

    @precondition(lambda self: any(self.acknowledged))
    @rule(which=st.integers(0, 1))
    def read_what_is_gone(self, which: int) -> None:
        if self.acknowledged[which] and self.sent[which] and not self.dropped[which]:
            with pytest.raises(IroshError):
                self.logs[which].read(min(self.acknowledged[which], len(self.sent[which])) - 1, 10)

    @rule(which=st.integers(0, 1))
    def finish(self, which: int) -> None:
        self.logs[which].finish()

    @precondition(lambda self: self.count > 10)
    @rule(which=st.integers(0, 1))
    def drop(self, which: int) -> None:
        self.logs[which].drop()
        self.dropped[which] = True

    @invariant()
    def the_budget_is_what_is_kept(self) -> None:
        kept = [
            0 if dropped else max(0, len(sent) - acknowledged)
            for sent, acknowledged, dropped in zip(self.sent, self.acknowledged, self.dropped, strict=True)
        ]
        assert [log.kept for log in self.logs] == kept
        assert self.budget.used == sum(kept)
        for log, mine, dropped, sent, acknowledged in zip(
            self.logs, kept, self.dropped, self.sent, self.acknowledged, strict=True
        ):
            assert log.has_room == (mine < ALWAYS or (mine < PER_STREAM and sum(kept) < PER_SESSION))
            if not dropped:
                assert log.settled == (log.finished and acknowledged == len(sent) + 1)


TestReplay = ReplayMachine.TestCase


@given(st.lists(st.integers(1, 300), min_size=1, max_size=200))
def test_small_writes_do_not_make_many_chunks(sizes: list[int]) -> None:
    log = ReplayLog(ReplayBudget(PER_STREAM, PER_SESSION))
    for size in sizes:
        log.append(bytes(size))
    assert len(log._chunks) <= sum(sizes) // 2048 + 1
