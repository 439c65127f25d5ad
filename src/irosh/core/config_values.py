"""Readers: from the values that TOML has to those that the configuration holds. Pure.

Each raises ``Fault`` or ``IroshError`` with what was expected.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import TypeVar

from irosh.core.addresses import parse_ip
from irosh.core.capability import parse_capabilities
from irosh.core.durations import parse_duration
from irosh.core.endpoint_address import check_relay_url
from irosh.core.listen_address import format_listen_address
from irosh.core.network_options import MAX_SERVERS
from irosh.core.paths import Paths, parse_paths
from irosh.core.second_factor import parse_factors
from irosh.core.sizes import parse_size
from irosh.core.socket_spec import Fault, bracketed, parse_port, split_host_port
from irosh.core.wording import quoted

_LEAST_REPLAY, _MOST_REPLAY = 64 * 1024, 1024**3

T = TypeVar("T")
Network = TypeVar("Network", IPv4Network, IPv6Network)

_TYPE_NAMES: dict[type, str] = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a table",
}


def relays(value: object) -> tuple[str, ...]:
    return tuple(dict.fromkeys(relay_url(item) for item in of_type(value, list, "a list of URLs")))


def paths(value: object) -> Paths:
    return parse_paths(of_type(value, str, "a way to use paths, as text"))


def relay_url(value: object) -> str:
    try:
        return check_relay_url(of_type(value, str, "a URL as text"))
    except ValueError as error:
        raise Fault(str(error), "write it like https://relay.example") from None


def token(value: object) -> str:
    token = of_type(value, str, "a token as text")
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        # It goes into an HTTP header. The message must not show it.
        raise Fault("the token is not made of printable ASCII characters without spaces")
    return token


def bind(value: object) -> str:
    host, port = split_host_port(of_type(value, str, 'an address as text, like "0.0.0.0:0"'))
    address = parse_ip(host[1:-1] if host.startswith("[") else host)
    if address is None:
        raise Fault(f"{quoted(host)} is not an IP address", "write 0.0.0.0:PORT or [::]:PORT for every interface")
    return f"{bracketed(str(address))}:{0 if port == '0' else parse_port(port)}"


def listen(value: object) -> str:
    return format_listen_address(of_type(value, str, 'an address as text, like "127.0.0.1:9464"'))


def capabilities(value: object) -> tuple[str, ...]:
    texts = [of_type(item, str, "text") for item in of_type(value, list, "a list of capabilities")]
    return tuple(str(capability) for capability in parse_capabilities(texts))


def factors(value: object) -> tuple[str, ...]:
    items = of_type(value, list, "a list of second factors")
    return parse_factors(of_type(item, str, "text") for item in items)


def count(value: object) -> int:
    number = of_type(value, int, "a whole number")
    if number < 1:
        raise Fault(f"{number} is too small", "at least 1")
    return number


def each(parse: Callable[[str], T]) -> Callable[[object], tuple[T, ...]]:
    def read(value: object) -> tuple[T, ...]:
        items = of_type(value, list, "a list of texts")
        if len(items) > MAX_SERVERS:
            raise Fault(f"more than {MAX_SERVERS} are of no use")
        return tuple(dict.fromkeys(parse(of_type(item, str, "text")) for item in items))

    return read


def path(value: object) -> Path:
    return Path(of_type(value, str, "a path as text")).expanduser()


def limit(value: object) -> int:
    number = of_type(value, int, "a whole number")
    if number < 0:
        raise Fault(f"{number} is too small", "0 is no limit")
    return number


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Fault("expected true or false")
    return value


def size(value: object) -> int:
    size = parse_size(of_type(value, str, 'a size as text, like "16MiB"'))
    if not _LEAST_REPLAY <= size <= _MOST_REPLAY:
        raise Fault("a replay buffer is from 64KiB to 1GiB")
    return size


def duration_or_none(value: object) -> float:
    return 0.0 if value in ("0", "0s") else duration(value)


def duration(value: object) -> float:
    return parse_duration(of_type(value, str, 'a duration as text, like "90s" or "1h"'))


def of_type(value: object, kind: type[T], expected: str) -> T:
    if isinstance(value, kind) and not isinstance(value, bool):
        return value
    raise Fault(f"expected {expected}, found {_TYPE_NAMES.get(type(value), 'a date or time')}")


def pool4(value: object) -> IPv4Network:
    return _pool(value, IPv4Network, range(16, 31), "100.64.7.0/24")


def pool6(value: object) -> IPv6Network:
    return _pool(value, IPv6Network, range(48, 113), "fd00:7::/64")


def _pool(value: object, kind: type[Network], lengths: range, example: str) -> Network:
    """A network with a prefix of one of ``lengths``, of which clients can have the addresses."""
    text = of_type(value, str, "a network")
    try:
        network = kind(text)
    except ValueError as error:
        family = "IPv4" if kind is IPv4Network else "IPv6"
        raise Fault(f"{quoted(text)} is no {family} network: {error}", f"write it like {example}") from None
    useless = network.is_multicast or network.is_loopback or network.is_link_local
    if network.prefixlen not in lengths or useless:
        between = f"between /{lengths[0]} and /{lengths[-1]}"
        raise Fault(f"{quoted(text)} is no network for clients", f"take a private one {between}")
    return network
