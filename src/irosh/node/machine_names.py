"""Machines behind gateways by their names alone: which of them a person means."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from irosh.core.errors import IroshError
from irosh.core.hops import PeerStop, as_user, parse_stop
from irosh.core.petname import valid_petname
from irosh.core.trust import TrustStore
from irosh.node.target_request import TargetRequest

R = TypeVar("R", bound=TargetRequest)


def with_gateways(trust: TrustStore, request: R) -> R:
    """``request`` with GATEWAY/NAME in place of names that only a gateway has. ``IroshError`` when several have it."""
    return msgspec.structs.replace(
        request, target=_full_name(trust, request.target), jump=hops_with_gateways(trust, request)
    )


def hops_with_gateways(trust: TrustStore, request: TargetRequest) -> tuple[str, ...]:
    """As :func:`with_gateways`, of the hops alone."""
    return tuple(_full_name(trust, hop) for given in request.jump for hop in given.split(","))


def _full_name(trust: TrustStore, text: str) -> str:
    try:
        stop = parse_stop(text)
    except IroshError:
        return text  # which is told where it is used
    if not isinstance(stop, PeerStop) or not valid_petname(stop.target) or stop.target.lower().startswith("npub1"):
        return text
    if trust.find(stop.target) is not None:  # a peer's name means the peer, whatever gateways show
        return text
    machine = trust.machines.meant(stop.target)
    return text if machine is None else str(as_user(parse_stop(machine.full_name), stop.user))
