"""The stations of a way through other machines, such as ``-J gw,ssh://admin@10.0.0.1 TARGET``. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.socket_spec import Fault, bracketed, parse_host, parse_port
from irosh.core.ssh_url import SCHEME, is_ssh_url
from irosh.core.wording import quoted

MAX_HOPS = 8
DEFAULT_PORT = 22
GATEWAY_SEPARATOR = "/"
"""Between a gateway and the name of a machine it shows: ``gw/printer``. No petname has it."""
_USER = re.compile(r"[^\s@/:,\x00-\x1f\x7f-]{1,64}[^\s@/:,\x00-\x1f\x7f]{0,63}|[^\s@/:,\x00-\x1f\x7f-]")


@dataclass(frozen=True)
class PeerStop:
    """An irosh node: a petname, an id or a ticket. ``user``: whom to be there; None: whoever the host runs as."""

    target: str
    user: str | None = None

    @property
    def text(self) -> str:
        """As :func:`parse_stop` takes it; a ticket may be long."""
        return f"{_at(self.user)}{self.target}"

    def __str__(self) -> str:
        return f"{_at(self.user)}{_shortened(self.target)}"


@dataclass(frozen=True)
class SshStop:
    """A machine with an ordinary SSH server. ``user`` None: as the user's own SSH configuration says."""

    host: str
    port: int | None = None
    user: str | None = None

    def __str__(self) -> str:
        port = "" if self.port is None else f":{self.port}"
        return f"{SCHEME}{_at(self.user)}{bracketed(self.host)}{port}"

    @property
    def text(self) -> str:
        """As :func:`parse_stop` takes it."""
        return str(self)


@dataclass(frozen=True)
class NamedStop:
    """A machine with an ordinary SSH server, by the name it has at ``gateway``, the station before."""

    gateway: str
    name: str
    user: str | None = None

    def __str__(self) -> str:
        return f"{_at(self.user)}{_shortened(self.gateway)}{GATEWAY_SEPARATOR}{self.name}"

    @property
    def text(self) -> str:
        """As :func:`parse_stop` takes it."""
        return f"{_at(self.user)}{self.gateway}{GATEWAY_SEPARATOR}{self.name}"


Stop = PeerStop | SshStop | NamedStop
S = TypeVar("S", PeerStop, SshStop, NamedStop, Stop)


def _at(user: str | None) -> str:
    return "" if user is None else f"{user}@"


def _shortened(target: str) -> str:
    """A ticket is long, and may hold a secret."""
    return target if len(target) <= 64 else f"{target[:16]}…"


def gateway_name(target: str) -> tuple[str, str] | None:
    """The gateway and the name it has for a machine, of ``GATEWAY/NAME``; None for any other target."""
    gateway, separator, name = target.strip().rpartition(GATEWAY_SEPARATOR)
    return (gateway, name) if separator and gateway and name and not is_ssh_url(target) else None


def as_user(stop: S, user: str | None) -> S:
    """``stop``, as ``user`` there unless that is None."""
    return stop if user is None else replace(stop, user=user)


def parse_stop(text: str) -> Stop:
    """One station: ``[USER@]TARGET``, ``[USER@]GATEWAY/NAME`` or ``ssh://[USER@]HOST[:PORT]``.

    ``IroshError`` (invalid-address, usage).
    """
    text = text.strip()
    if is_ssh_url(text):
        try:
            return _parse_url(text[len(SCHEME) :])
        except Fault as fault:
            raise IroshError(ErrorCode.INVALID_ADDRESS, f"{quoted(text)}: {fault.message}", fault.hint) from None
    user, at, target = text.rpartition("@")
    if not target or (at and not user):
        raise IroshError(ErrorCode.USAGE, f"{quoted(text)} names no hop", "write -J NAME, or several: -J NAME,NAME")
    if (named := gateway_name(target)) is not None:
        return NamedStop(*named, user or None)
    return PeerStop(target, user or None)


def parse_way(texts: Sequence[str], target: Stop) -> tuple[Stop, ...]:
    """All stations on the way to ``target``, which is the last; the gateways of names are among them.

    ``IroshError`` (usage) for too many, and for a way that comes by twice.
    """
    hops = [parse_stop(text) for given in texts for text in given.split(",")]
    way: list[Stop] = []
    for stop in (*hops, target):
        if isinstance(stop, NamedStop) and not (way and _is_node(way[-1], stop.gateway)):
            way.append(PeerStop(stop.gateway))
        way.append(stop)
    if len(way) - 1 > MAX_HOPS:
        raise IroshError(ErrorCode.USAGE, f"{len(way) - 1} hops are too many", f"at most {MAX_HOPS}")
    check_loops(way)
    return tuple(way)


def _is_node(stop: Stop, name: str) -> bool:
    return isinstance(stop, PeerStop) and stop.target.lower() == name.lower()


def check_loops(stops: Sequence[Stop]) -> None:
    """``IroshError`` (usage) for a way that comes to one place twice, as far as the texts tell."""
    seen = set()
    for stop in stops:
        place = _place(stop)
        if place in seen:
            raise IroshError(ErrorCode.USAGE, f"the way goes to {stop} twice", "leave one of them out")
        seen.add(place)


def _place(stop: Stop) -> tuple[object, ...]:
    match stop:
        case PeerStop():
            return (stop.target.lower(),)
        case NamedStop():
            return (stop.gateway.lower(), stop.name.lower(), "")
        case SshStop():
            return (stop.host, stop.port or DEFAULT_PORT)


def _parse_url(text: str) -> SshStop:
    user, at, rest = text.removesuffix("/").rpartition("@")
    port_text: str | None
    if at and not _USER.fullmatch(user):
        hint = "a password is asked for when it is needed" if ":" in user else ""
        raise Fault(f"{quoted(user)} is not a user name", hint)
    if rest.startswith("["):
        inside, bracket, after = rest.partition("]")
        host_text, port_text = f"{inside}{bracket}", after
        if not bracket or (after and not after.startswith(":")):
            raise Fault("the brackets of the IPv6 address are wrong", "write it like ssh://[::1]:22")
        port_text = after[1:] if after else None
    else:
        host_text, colon, port_text = rest.partition(":")
        port_text = port_text if colon else None
        if port_text is not None and ":" in port_text:
            raise Fault(f"{quoted(rest)} has several colons", "put an IPv6 address in brackets, like ssh://[::1]:22")
    if "/" in rest:
        raise Fault("something follows the host", "write ssh://[USER@]HOST[:PORT]")
    return SshStop(parse_host(host_text), None if port_text is None else parse_port(port_text), user or None)
