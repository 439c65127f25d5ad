"""Patterns as OpenSSH has them (ssh_config(5), PATTERNS): ``*`` and ``?``, lists with negation, networks. Pure."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Network, IPv6Network, NetmaskValueError, ip_network

from irosh.core.addresses import parse_ip
from irosh.core.wildcards import matches

LONGEST = 1024
"""Characters of a text that is matched."""


def matches_pattern(text: str, pattern: str) -> bool:
    """Whether ``pattern`` stands for all of ``text``: ``*`` for any characters, ``?`` for one."""
    if len(text) > LONGEST:
        return False
    return matches(pattern, text, "*", lambda part, character: part in ("?", character))


def matches_list(text: str, patterns: str) -> bool:
    """Whether one of the patterns between commas matches, and none behind ``!`` does."""
    matched = False
    for pattern in patterns.split(","):
        if pattern.startswith("!"):
            if matches_pattern(text, pattern[1:]):
                return False
        elif matches_pattern(text, pattern):
            matched = True
    return matched


def matches_address_list(address: str, patterns: str) -> bool:
    """As :func:`matches_list` for an IP address, where a pattern may be a network, such as ``10.0.0.0/8``.

    ``ValueError`` for a network that cannot be: sshd(8) then matches nothing at all.
    """
    parsed = parse_ip(address)
    matched = False
    for pattern in patterns.split(","):
        negated, each = pattern.startswith("!"), pattern.removeprefix("!")
        if "/" in each:
            found = parsed is not None and parsed.ip in parse_network(each)
        else:
            found = matches_pattern(address.lower(), each.lower())
        if found and negated:
            return False
        matched = matched or (found and not negated)
    return matched


def parse_network(text: str) -> IPv4Network | IPv6Network:
    """``ADDRESS/LENGTH``. ``ValueError``, also for bits beyond the prefix, as sshd(8)."""
    try:
        return ip_network(text)
    except (AddressValueError, NetmaskValueError) as error:
        raise ValueError(str(error)) from None
