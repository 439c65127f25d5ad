"""NATs of the four kinds that RFC 3489 named, with the mapping and filtering behaviour of RFC 4787 for UDP.

| kind               | mapping                   | filtering                  |
|--------------------|---------------------------|----------------------------|
| full cone          | endpoint-independent      | endpoint-independent       |
| address-restricted | endpoint-independent      | address-dependent          |
| port-restricted    | endpoint-independent      | address and port-dependent |
| symmetric          | address and port-dependent| address and port-dependent |

Connection tracking alone makes none of the cones for sure, so their mappings are kept here, in two maps of nft: where
an inside socket appears, and whose a port of the outside is. A packet from outside for which the filtering has no
leave is dropped before connection tracking has made an entry of it, which would bar the way of the peer's next one.
"""

from __future__ import annotations

import json
import os
import random
import socket
import struct
from enum import StrEnum

from tests.lab.filters import load_rules
from tests.lab.host import Router


class NatKind(StrEnum):
    """What a NAT does with addresses. ``NONE``: nothing, and no firewall either."""

    NONE = "none"
    FULL_CONE = "full-cone"
    ADDRESS_RESTRICTED = "address-restricted"
    PORT_RESTRICTED = "port-restricted"
    SYMMETRIC = "symmetric"


CONES = (NatKind.FULL_CONE, NatKind.ADDRESS_RESTRICTED, NatKind.PORT_RESTRICTED)

Endpoint = tuple[str, int]

_NETLINK_NETFILTER = 12
_CONNTRACK_DELETE = 0x0102
_REQUEST_WITH_ANSWER = 0x0005

_CONTACTED = {
    NatKind.FULL_CONE: "",
    NatKind.ADDRESS_RESTRICTED: "ip saddr . udp dport @addresses",
    NatKind.PORT_RESTRICTED: "ip saddr . udp sport . udp dport @endpoints",
}


class Nat(Router):
    """A router whose first link is its outside; everything behind its other links appears with its outside address.

    ``hairpin``: packets from the inside to an outside port come back in, with the sender's outside address and port
    (RFC 4787, REQ-9), without filtering. A symmetric NAT lets none in anyway, as each port is for one outsider.
    ``keep_ports``: a cone gives a socket the port outside that it has inside, if that is free; otherwise some other.
    ``timeout``: seconds after which an idle mapping of UDP is gone; ``None``: never, for a test.
    IPv6 is not translated, but only answers are let in. TCP is let in as the port-restricted kind does it.
    """

    def __init__(
        self, name: str, kind: NatKind, *, hairpin: bool = False, keep_ports: bool = True, timeout: int | None = None
    ) -> None:
        super().__init__(name)
        self.kind = kind
        self.hairpin = hairpin
        self.keep_ports = keep_ports
        self.timeout = timeout
        self._seed = random.randrange(1, 2**31)

    @property
    def outside(self) -> str:
        """The IPv4 address with which everything behind it appears."""
        return next(each for each in self.links[0].addresses if ":" not in each)

    def links_changed(self) -> None:
        """Rules for the addresses it has now. Mappings are forgotten."""
        if self.links:
            self.forget_mappings()

    def mappings(self) -> dict[Endpoint, int]:
        """The ports outside of the inside sockets (UDP, cones only)."""
        listing = json.loads(self.run("nft", "-j", "list", "map", "ip", "lab_nat", "outward").stdout)
        found = {}
        for key, value in listing["nftables"][-1]["map"].get("elem", []):
            address, port = key.get("elem", {}).get("val", key)["concat"]
            found[str(address), int(port)] = int(value)
        return found

    def forget_mappings(self) -> None:
        """Lose all mappings and connections, as when it starts anew."""
        if self.kind == NatKind.NONE:
            return
        self._seed = random.randrange(1, 2**31)
        self._forget_connections()
        load_rules(self, "table ip lab_nat\ndelete table ip lab_nat\n" + self._rules())
        load_rules(self, "table ip6 lab_nat\ndelete table ip6 lab_nat\n" + self._rules6())
        if self.timeout is not None:
            self.sysctl("net.netfilter.nf_conntrack_udp_timeout", self.timeout)
            self.sysctl("net.netfilter.nf_conntrack_udp_timeout_stream", self.timeout)

    def _forget_connections(self) -> None:
        """Empty the table of connection tracking, by netlink (``linux/netfilter/nfnetlink_conntrack.h``)."""
        with self.inside():
            netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        with netlink:
            netlink.settimeout(10.0)
            netlink.send(struct.pack("=IHHIIBBH", 20, _CONNTRACK_DELETE, _REQUEST_WITH_ANSWER, 1, 0, 0, 0, 0))
            error = struct.unpack_from("=i", netlink.recv(1024), 16)[0]
        if error:
            raise OSError(-error, os.strerror(-error))

    def _rules(self) -> str:
        outside = f'"{self.links[0].device}"'
        if self.kind == NatKind.SYMMETRIC:
            before = after = learn = ""
            translate = f"oifname {outside} masquerade random,fully-random"
        else:
            learn = self._learning(outside)
            contacted = _CONTACTED[self.kind]
            before = f"iifname {outside} {contacted} dnat ip to udp dport map @inward"
            translate = f"oifname {outside} meta l4proto udp masquerade to :ip saddr . udp sport map @outward"
            translate += f"\noifname {outside} masquerade"
            if self.hairpin:
                before += f"\niifname != {outside} ip daddr {self.outside} dnat ip to udp dport map @inward"
                translate += (
                    f"\niifname != {outside} ct status dnat meta l4proto udp"
                    f" snat ip to {self.outside}:ip saddr . udp sport map @outward"
                )
            owner = "udp sport : ct {direction} ip saddr . ct {direction} proto-src"
            used = f"oifname {outside} meta l4proto udp"
            after = f"""
                {used} ct direction original update @inward {{ {owner.format(direction="original")} }}
                {used} ct direction reply update @inward {{ {owner.format(direction="reply")} }}
                {used} update @addresses {{ ip daddr . udp sport }}
                {used} update @endpoints {{ ip daddr . udp dport . udp sport }}
            """
        lifetime = f"timeout {self.timeout}s;" if self.timeout is not None else ""
        return f"""
            table ip lab_nat {{
                map outward {{ type ipv4_addr . inet_service : inet_service; size 65535; flags dynamic, timeout;
                    {lifetime} }}
                map inward {{ type inet_service : ipv4_addr . inet_service; size 65535; flags dynamic, timeout;
                    {lifetime} }}
                set addresses {{ type ipv4_addr . inet_service; size 65535; flags dynamic, timeout; {lifetime} }}
                set endpoints {{ type ipv4_addr . inet_service . inet_service; size 65535; flags dynamic, timeout;
                    {lifetime} }}
                {learn}
                chain before_routing {{ type nat hook prerouting priority dstnat; policy accept;
                    {before}
                }}
                chain after_routing {{ type nat hook postrouting priority srcnat; policy accept;
                    {translate}
                }}
                chain contacting {{ type filter hook postrouting priority srcnat + 10; policy accept;
                    {after}
                }}
                chain to_itself {{ type filter hook input priority filter; policy accept;
                    ct state established,related accept
                    ip daddr {self.outside} meta l4proto != icmp drop
                }}
                chain passing {{ type filter hook forward priority filter - 1; policy accept;
                    ct state established,related accept
                    ct status dnat accept
                    iifname {outside} drop
                }}
            }}
        """

    def _learning(self, outside: str) -> str:
        """Give an inside socket its port outside, with its first packet."""
        source = "ip saddr . udp sport"
        # The same for the same source, so that both maps get it. Nft stores the number with its bytes swapped: the port
        # may be any from 192 on.
        other = f"jhash {source} mod 16384 seed {self._seed:#x} offset 49152"
        keep = f"""
            udp sport @inward goto choose
            add @outward {{ {source} : udp sport }}
            add @inward {{ udp sport : {source} }}
        """
        return f"""
            chain choose {{
                add @outward {{ {source} : {other} }}
                add @inward {{ {other} : {source} }}
            }}
            chain assign {{
                {source} @outward goto refresh
                {keep if self.keep_ports else "goto choose"}
            }}
            chain refresh {{
                update @outward {{ {source} : udp sport }}
            }}
            chain learning {{ type filter hook prerouting priority mangle; policy accept;
                ip daddr {{ 224.0.0.0/4, 255.255.255.255 }} return
                iifname != {{ {outside}, "lo" }} meta l4proto udp jump assign
            }}
        """

    def _rules6(self) -> str:
        return f"""
            table ip6 lab_nat {{
                chain passing {{ type filter hook forward priority filter - 1; policy accept;
                    ct state established,related accept
                    iifname "{self.links[0].device}" drop
                }}
            }}
        """
