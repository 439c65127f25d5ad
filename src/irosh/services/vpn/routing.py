"""What a client changes of its machine's routing, and how each change is undone. Pure.

The routes of the tunnel are in a table of their own. Rules lead there, in this order:

1. what this process sends, of whatever thread, skips the rest (:mod:`irosh.services.vpn.underlay`);
2. so does what belongs to connections that came from outside, or were there before: they stay where they are;
3. with everything in the tunnel, networks that the machine is part of, or has a route to, are reached as before;
4. the table.

They are before the rules of the system, behind those with a lower preference, which somebody wanted to come first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from irosh.core.addresses import IPNetwork
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.wording import quoted
from irosh.services.vpn.messages import VpnWelcome
from irosh.services.vpn.undo import Step

RULES = 6
"""Preferences in a row that the rules take."""
MARK = 0x69726F
"""Of connections that stay where they are."""
TABLES = 26_000
"""Number of the first table; the same distance from it as the rules are from theirs."""

_FILTER = """
table inet {table} {{
    chain prerouting {{
        type filter hook prerouting priority mangle; policy accept;
        iifname != "{device}" fib daddr type local ct state new ct mark set {mark}
    }}
    chain output {{
        type route hook output priority mangle; policy accept;
        oifname "{device}" ct state new tcp flags & (syn|rst) == 0x0 ip saddr != {address4} ct mark set {mark}
        oifname "{device}" ct state new tcp flags & (syn|rst) == 0x0 ip6 saddr != {address6} ct mark set {mark}
        ct mark {mark} meta mark set {mark}
    }}
    chain input {{
        type filter hook input priority filter; policy accept;
        iifname "{device}" ct state established,related accept
        iifname "{device}" drop
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname "{device}" ct state established,related accept
        iifname "{device}" drop
    }}
}}
"""

_NAMES = """
table inet {table} {{
    chain names {{
        type nat hook output priority -100; policy accept;
        meta mark {mark} ip daddr {{ {new} }} meta l4proto {{ tcp, udp }} th dport 53 dnat ip to {old}
    }}
    chain sources {{
        type nat hook postrouting priority 100; policy accept;
        meta mark {mark} oifname != "{device}" ip saddr {address4} masquerade
    }}
}}
"""


@dataclass(frozen=True)
class Change:
    """A command with its input, and what undoes it, if it does not go with the interface."""

    command: tuple[str, ...]
    undo: tuple[Step, ...] = ()
    given: str = ""


@dataclass(frozen=True)
class Wanted:
    """What shall go through the tunnel: ``routes``, or ``everything``."""

    routes: tuple[IPNetwork, ...]
    everything: bool


def parse_routes(texts: list[str]) -> tuple[IPNetwork, ...]:
    """Networks as typed. ``IroshError`` (invalid-address)."""
    networks = []
    for text in texts:
        try:
            networks.append(ip_network(text.strip("[]")))
        except ValueError as error:
            try:
                hint = f"write {ip_network(text, strict=False)} for the whole network"
            except ValueError:
                hint = "write it like 10.0.0.0/8 or fd00::/8"
            raise IroshError(ErrorCode.INVALID_ADDRESS, f"route {quoted(text)}: {error}"[:300], hint) from None
    return tuple(dict.fromkeys(networks))


def changes(
    device: str, welcome: VpnWelcome, wanted: Wanted, *, first_rule: int, user: int, first: int, own_ipv6: bool
) -> list[Change]:
    """All changes in order. ``first``: preference of the very first block of rules; ``own_ipv6``: there is any."""
    table = str(TABLES + first_rule - first)
    filters = _table(device)
    rules = _FILTER.format(
        table=filters, device=device, mark=MARK, address4=welcome.address4, address6=welcome.address6 or "::"
    )
    found = [Change(("nft", "-f", "-"), (("run", ["nft", "delete", "table", "inet", filters]),), rules)]
    for family in ("-4", "-6") if own_ipv6 else ("-4",):
        gateway, address = (
            (welcome.gateway4, welcome.address4) if family == "-4" else (welcome.gateway6, welcome.address6)
        )
        found += _routes(family, device, table, gateway, address, wanted)
        found += _rules(family, table, first_rule, user, everything=wanted.everything)
    return found


def _table(device: str) -> str:
    return f"irosh_vpn_{device}"


def names_outside(device: str, address4: str, servers: Sequence[str], before: Sequence[str]) -> Change | None:
    """What is kept out of the tunnel asks the name servers that were asked ``before``: it cannot reach ``servers``."""
    old = next((each for each in before if ":" not in each), None)
    new = [each for each in servers if ":" not in each]
    if old is None or not new:
        return None
    rules = _NAMES.format(
        table=_table(device), device=device, mark=MARK, address4=address4, new=", ".join(new), old=old
    )
    return Change(("nft", "-f", "-"), given=rules)


def _routes(family: str, device: str, table: str, gateway: str, address: str, wanted: Wanted) -> list[Change]:
    version = int(family[1])
    destinations = [str(network) for network in wanted.routes if network.version == version]
    destinations += ["default"] if wanted.everything else []
    add, flush = ("ip", family, "route", "add"), ["ip", family, "route", "flush", "table", table]
    if not gateway:
        # The peer has no IPv6: what was to go through it goes nowhere rather than around it.
        return [Change((*add, "unreachable", each, "table", table), (("run", flush),)) for each in destinations]
    way = ("dev", device, "src", address, "table", table)
    return [Change((*add, each, *way), (("run", flush),)) for each in dict.fromkeys([gateway, *destinations])]


def _rules(family: str, table: str, first: int, user: int, *, everything: bool) -> list[Change]:
    last = str(first + RULES - 1)
    wanted: list[tuple[str, ...]] = [
        ("uidrange", f"{user}-{user}", "goto", last),
        ("fwmark", hex(MARK), "goto", last),
    ]
    if everything:
        wanted.append(("lookup", "main", "suppress_prefixlength", "0"))
    wanted.append(("lookup", table))

    def rule(preference: str, *what: str) -> Change:
        undo: Step = ("run", ["ip", family, "rule", "delete", "preference", preference])
        return Change(("ip", family, "rule", "add", "preference", preference, *what), (undo,))

    # The last one first, as others lead to it.
    return [rule(last, "nop"), *(rule(str(first + number), *what) for number, what in enumerate(wanted))]
