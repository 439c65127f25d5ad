"""Where a peer comes from, as far as its paths show it: what a relay hides is not taken for granted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.terms import Terms
from irosh.core.trust import TrustStore
from irosh.node.warrants import Warrants, WarrantSettings
from irosh.transport.interfaces import Path as NetworkPath
from tests.support.warrant_host import key


def path(remote: str, *, relayed: bool = False, selected: bool = True) -> NetworkPath:
    return NetworkPath(remote, relayed, selected, 0.0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("sources", "paths", "allowed"),
    [
        ("10.0.0.0/8", [path("10.0.0.1:9")], True),
        ("10.0.0.0/8", [path("[::ffff:10.0.0.1]:9")], True),
        ("2001:db8::/32", [path("[2001:db8::1]:9")], True),
        ("10.0.0.0/8", [path("10.0.0.1:9"), path("192.0.2.1:9", selected=False)], True),
        ("10.0.0.0/8", [path("10.0.0.1:9"), path("192.0.2.1:9")], False),  # one of several carriers
        ("10.0.0.0/8", [path("10.0.0.1:9", selected=False)], False),
        ("10.0.0.0/8", [], False),
        ("*", [path("https://relay.example", relayed=True)], False),
        ("*,relayed", [path("https://relay.example", relayed=True)], True),
        ("127.0.0.1", [path("127.0.0.1:9")], False),  # a TURN server may be behind it
    ],
)
def test_where_a_peer_comes_from(tmp_path: Path, sources: str, paths: list[NetworkPath], allowed: bool) -> None:
    friend = Identity.generate()
    keys = tmp_path / "keys"
    keys.write_text(f'from="{sources}" {key(friend)}\n')
    keys.chmod(0o600)
    with TrustStore(tmp_path / "irosh.db") as store:
        warrants = Warrants(store, WarrantSettings("me", (), keys=keys, loopback_is_relayed=lambda: True))
        if allowed:
            assert isinstance(warrants.terms(friend.id, None, paths), Terms)
        else:
            with pytest.raises(IroshError) as caught:
                warrants.terms(friend.id, None, paths)
            assert caught.value.code is ErrorCode.DENIED


@pytest.mark.parametrize(("found_after", "waits"), [(0.4, True), (None, True), (0.0, False)])
def test_a_direct_path_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found_after: float | None, waits: bool
) -> None:
    monkeypatch.setattr("irosh.node.warrants.DIRECT_DEADLINE", 1.0)
    friend = Identity.generate()
    keys = tmp_path / "keys"
    keys.write_text(f'from="10.0.0.0/8" {key(friend)}\n')
    keys.chmod(0o600)

    async def test() -> None:
        clock = asyncio.get_running_loop().time
        begun = clock()

        def paths() -> list[NetworkPath]:
            direct = found_after is not None and clock() - begun >= found_after
            return [path("10.0.0.1:9")] if direct else [path("https://relay.example", relayed=True)]

        with TrustStore(tmp_path / "irosh.db") as store:
            warrants = Warrants(store, WarrantSettings("me", (), keys=keys))
            await warrants.settled(friend.id, None, paths)
            took = clock() - begun
            assert (took >= 0.3) == waits
            assert took < 3
            await warrants.settled(Identity.generate().id, None, paths)  # nobody that is known
            assert clock() - begun - took < 0.1

    asyncio.run(test())
