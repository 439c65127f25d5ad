"""The list of machines that a gateway shows to its peers: a name and an ``ssh://`` URL a line. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.hops import DEFAULT_PORT, SshStop, parse_stop
from irosh.core.petname import valid_petname
from irosh.core.socket_spec import SocketSpec
from irosh.core.ssh_url import is_ssh_url
from irosh.core.wording import quoted

MAX_ENTRIES = 4096


def parse_list(text: str) -> dict[str, str]:
    """URLs by name; empty lines and comments (``#``) are skipped. ``IroshError`` (usage, …), naming the line."""
    entries: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2:
            raise IroshError(ErrorCode.USAGE, f"line {number} is not NAME ssh://[USER@]HOST[:PORT]")
        name, url = words
        try:
            check_entry(name, url)
        except IroshError as error:
            raise IroshError(error.code, f"line {number}: {error.message}", error.hint) from None
        if name in entries:
            raise IroshError(ErrorCode.USAGE, f"line {number}: {quoted(name)} is there already")
        entries[name] = url
    if len(entries) > MAX_ENTRIES:
        raise IroshError(ErrorCode.USAGE, f"{len(entries)} names are too many", f"at most {MAX_ENTRIES}")
    return entries


def check_entry(name: str, url: str) -> SshStop:
    """What ``url`` means. ``IroshError`` (usage, invalid-address) for a name or a URL that cannot be."""
    if not valid_petname(name):
        raise IroshError(ErrorCode.USAGE, f"{quoted(name)} is no name", "letters, digits, '.', '_' and '-'")
    stop = parse_stop(url) if is_ssh_url(url) else None
    if not isinstance(stop, SshStop):
        raise IroshError(ErrorCode.USAGE, f"{quoted(url)} is no address", "write ssh://[USER@]HOST[:PORT]")
    return stop


def address_of(stop: SshStop) -> SocketSpec:
    """What has to be reached for ``stop``."""
    return SocketSpec("tcp", host=stop.host, port=stop.port or DEFAULT_PORT)


def checked_entries(entries: Mapping[str, str]) -> dict[str, str]:
    """Of what another machine says it serves, what makes sense, in its plain form."""
    good = {}
    for name, url in list(entries.items())[:MAX_ENTRIES]:
        try:
            good[name] = str(check_entry(name, url))
        except IroshError:
            continue
    return good


def list_digest(entries: Mapping[str, str]) -> bytes:
    """Tells whether two lists are the same; empty for one without entries."""
    if not entries:
        return b""
    return hashlib.sha256("".join(f"{name} {url}\n" for name, url in sorted(entries.items())).encode()).digest()[:16]
