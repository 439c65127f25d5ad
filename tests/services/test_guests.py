"""Guests of a shared session who come again and again: there is room for the others, and always for its owner."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from irosh.core.errors import ErrorCode
from irosh.core.ticket import parse_ticket
from irosh.core.wire import Welcome
from irosh.services.shell.persistent import attending
from irosh.services.shell.persistent.codec import Answer, FrameKind, FrameReader, Manage, decode, encode, pack
from irosh.services.shell.persistent.lines import result_of
from irosh.services.shell.persistent.messages import SessionRequest
from irosh.transport.framing import read_frame
from irosh.transport.interfaces import CarrierStream
from tests.support.admitted import admitted, ask, refusal
from tests.support.nodes import DEADLINE, bare_endpoint, say_hello

OWN = SessionRequest("attach", name="work", create=True, size=(80, 24, 0, 0))
JOIN = SessionRequest("join", size=(80, 24, 0, 0))


async def frame(stream: CarrierStream, wanted: FrameKind) -> bytes:
    """The next frame of this kind."""
    reader = FrameReader()
    while True:
        for kind, payload in reader.feed(await stream.read(65536)):
            if kind is wanted:
                return payload


async def shared(stream: CarrierStream) -> dict[str, Any]:
    """Have the owner's session at ``stream`` shared with three guests."""
    await stream.write(pack(FrameKind.MANAGE, encode(Manage("share", users=3))))
    return result_of(decode(await frame(stream, FrameKind.ANSWER), Answer))


def test_no_guest_takes_all_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attending, "MAX_PARTICIPANTS", 6)
    monkeypatch.setattr(attending, "OF_THE_OWNER", 2)
    monkeypatch.setattr(attending, "MOST_OF_A_GUEST", 2)

    async def scenario() -> None:
        async with admitted(tmp_path, ["shell", "share"]) as (host, owner, _):
            stream, error = await ask(owner, "session", OWN)
            assert error is None
            invite = parse_ticket((await shared(stream))["ticket"]).invite
            async with bare_endpoint() as one, bare_endpoint() as other:
                streams = []
                for endpoint, places in ((one, 2), (other, 1)):
                    connection = await endpoint.connect(host.modes.contact().route())
                    await read_frame(await say_hello(connection, invite=invite), Welcome, deadline=DEADLINE)
                    for _ in range(places):
                        streams.append((await ask(connection, "session", JOIN))[0])
                        await frame(streams[-1], FrameKind.WELCOME)
                    assert await refusal(connection, "session", JOIN) is ErrorCode.BUSY
                for _ in range(2):
                    again, error = await ask(owner, "session", OWN)
                    assert error is None
                    await frame(again, FrameKind.WELCOME)
                assert await refusal(owner, "session", OWN) is ErrorCode.BUSY

    asyncio.run(scenario())
