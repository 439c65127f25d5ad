"""Why two sides found no way to each other: what was tried, and what theory says of it (RFC 5128, RFC 4787). Pure."""

from __future__ import annotations

from collections import Counter

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.ice_description import IceDescription
from irosh.core.identity import short_id
from irosh.rendezvous.separate_networks import are_separate

_HOPELESS = "both sides are behind symmetric NATs, between which no direct way is possible"
_NAMES = {"host": "own", "srflx": "reflexive", "relay": "TURN"}


def no_path(
    local: IceDescription,
    remote: IceDescription,
    *,
    heard: bool,
    relay_forbidden: bool,
    relay_error: IroshError | None,
) -> IroshError:
    """The failure of a session. ``heard``: a packet of the peer came through; ``relay_error``: what the relay said."""
    peer = f"{short_id(remote.endpoint_id)}…"
    tried = f"tried {_candidates(local)} here against {_candidates(remote)} there"
    if remote.relays and not relay_forbidden:
        tried += f", and {len(remote.relays)} relay{'s' if len(remote.relays) > 1 else ''}"
    if heard:
        message = f"packets of {peer} arrive here, but no way works in both directions ({tried})"
        return IroshError(ErrorCode.NO_PATH, message, _remedy(remote, relay_forbidden, relay_error))
    if not local.candidates or not remote.candidates:
        why = "one side has no addresses, so only a relay was left" if remote.relays else "one side has no addresses"
        return IroshError(
            ErrorCode.NO_PATH,
            f"no way to {peer} ({tried}): {why}",
            _remedy(remote, relay_forbidden, relay_error),
        )
    message = f"no packet of {peer} arrives here ({tried})"
    if why := _theory(local, remote):
        message += f": {why}"
    return IroshError(ErrorCode.NO_PATH, message, _remedy(remote, relay_forbidden, relay_error))


def is_symmetric(description: IceDescription) -> bool:
    """Whether STUN servers saw one socket at several addresses: a NAT that maps by destination (RFC 4787)."""
    bases = Counter(line.split()[0] for line in description.candidates if line.split()[7] == "srflx")
    return any(count > 1 for count in bases.values())


def is_hopeless(local: IceDescription, remote: IceDescription) -> bool:
    """Whether no direct way between the NATs of the two is possible (RFC 5128 section 3.3)."""
    return is_symmetric(local) and is_symmetric(remote)


def in_vain(local: IceDescription, remote: IceDescription, *, relay_forbidden: bool) -> IroshError | None:
    """Why ``remote`` need not be told of us, if it is certain: no direct way, no relay for both, no TURN server."""
    relayed = bool(local.relays and remote.relays) or _has(local, "relay") or _has(remote, "relay")
    if relayed or not is_hopeless(local, remote) or not are_separate(_hosts(local), _hosts(remote)):
        return None
    return IroshError(
        ErrorCode.NO_PATH,
        f"no way to {short_id(remote.endpoint_id)}…: {_HOPELESS}",
        _remedy(remote, relay_forbidden, None),
    )


def _hosts(description: IceDescription) -> list[str]:
    return [line.split()[4] for line in description.candidates]


def _theory(local: IceDescription, remote: IceDescription) -> str:
    if _outside(local) & _outside(remote):
        return "both sides are behind one NAT, which does not lead packets to its own outside back in (hairpinning)"
    here, there = is_symmetric(local), is_symmetric(remote)
    if here and there:
        return _HOPELESS
    if here or there:
        side = "this side" if here else "the other side"
        return (
            f"{side} is behind a symmetric NAT, and the NAT of the other lets in only who was called, or UDP is blocked"
        )
    if not _has(local, "srflx") and not _has(remote, "srflx"):
        return "neither side knows its address outside its NAT, and they are not on one network"
    return "UDP is blocked on one side, or the other side was not told of this session"


def _remedy(remote: IceDescription, relay_forbidden: bool, relay_error: IroshError | None) -> str:
    if relay_forbidden:
        return "a relay would do: leave --no-relay away, or name one with --relay; or --turn-server on one side"
    if not remote.relays:
        return "the other side allows no relay, or reached none: --relay there; or --turn-server on one side"
    if relay_error is not None:
        return f"and by relay: {relay_error.message}"
    return "was the other side told? `irosh netcheck` on both sides says what their networks allow"


def _candidates(description: IceDescription) -> str:
    kinds = Counter(line.split()[7] for line in description.candidates)
    parts = [f"{kinds[kind]} {name}" for kind, name in _NAMES.items() if kinds[kind]]
    return f"{' + '.join(parts)} addresses" if parts else "no address"


def _outside(description: IceDescription) -> set[str]:
    return {line.split()[4] for line in description.candidates if line.split()[7] == "srflx"}


def _has(description: IceDescription, kind: str) -> bool:
    return any(line.split()[7] == kind for line in description.candidates)
