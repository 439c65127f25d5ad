"""What is said when two sides find no way to each other."""

from __future__ import annotations

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.ice_description import IceDescription
from irosh.core.identity import Identity
from irosh.rendezvous.ice_failure import is_hopeless, is_symmetric, no_path

RELAY = "https://relay.example"


def side(*candidates: str, relays: tuple[str, ...] = (), network: str = "192.0.2") -> IceDescription:
    """Candidates as ``host`` or ``srflx:BASE:PORT``."""
    lines = []
    for number, text in enumerate(candidates):
        kind, _, rest = text.partition(":")
        base, _, port = rest.partition(":")
        lines.append(f"{kind}{base} 1 udp 1 {network}.{number + 1} {port or 1} typ {kind}")
    return IceDescription(Identity.generate().id, "abcd", "p" * 22, tuple(lines), relays)


CONE = side("host", "srflx:a:1")
OTHER_CONE = side("host", "srflx:a:1", network="198.51.100")
OTHER_SYMMETRIC = side("host", "srflx:a:1", "srflx:a:2", network="198.51.100")
SYMMETRIC = side("host", "srflx:a:1", "srflx:a:2")
BLIND = side("host")


def said(local: IceDescription, remote: IceDescription, **facts: object) -> IroshError:
    known = {"heard": False, "relay_forbidden": True, "relay_error": None, **facts}
    error = no_path(local, remote, **known)  # type: ignore[arg-type]
    assert error.code is ErrorCode.NO_PATH
    assert remote.endpoint_id[:10] in error.message
    return error


def test_a_nat_that_shows_two_addresses_of_one_socket_is_symmetric() -> None:
    assert is_symmetric(SYMMETRIC)
    assert not is_symmetric(CONE)
    assert not is_symmetric(side("srflx:a:1", "srflx:b:2"))  # two sockets
    assert is_hopeless(SYMMETRIC, SYMMETRIC)
    assert not is_hopeless(SYMMETRIC, CONE)


def test_the_reason_is_that_of_theory() -> None:
    assert "both sides are behind symmetric NATs" in said(SYMMETRIC, OTHER_SYMMETRIC).message
    assert "this side is behind a symmetric NAT" in said(SYMMETRIC, OTHER_CONE).message
    assert "the other side is behind a symmetric NAT" in said(CONE, OTHER_SYMMETRIC).message
    assert "neither side knows its address" in said(BLIND, BLIND).message
    assert "UDP is blocked" in said(CONE, OTHER_CONE).message
    assert "hairpinning" in said(CONE, CONE).message
    assert "both directions" in said(CONE, CONE, heard=True).message
    assert "tried 1 own + 2 reflexive addresses here against no address there" in said(SYMMETRIC, side()).message


def test_the_remedy_depends_on_who_forbids_the_relay() -> None:
    remote = side("host", relays=(RELAY,))
    assert "leave --no-relay away" in said(CONE, remote).hint
    assert "--relay there" in said(CONE, CONE, relay_forbidden=False).hint
    down = IroshError(ErrorCode.RELAY_UNREACHABLE, "the relay is down")
    assert "the relay is down" in said(CONE, remote, relay_forbidden=False, relay_error=down).hint
    assert "1 relay" in said(CONE, remote, relay_forbidden=False).message
