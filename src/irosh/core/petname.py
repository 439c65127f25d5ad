"""Petnames: the short names under which a person knows peers. Local, and unique in a trust store."""

from __future__ import annotations

import re

LONGEST = 63
"""Characters, as in a label of a host name: a petname can then be used as one, in ``ssh_config`` say."""

DOMAIN = ".irosh"
"""Behind a petname where others expect the name of a host; no name of the internet ends so."""

_PETNAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST - 1}}}", re.ASCII)
# What would be read as something else where a petname is expected: the beginning of an endpoint id or all of
# it (hex or base32), or a ticket.
_RESERVED = re.compile(r"[0-9a-f]{8,64}|[a-z2-7]{52}|(?:irosh1|endpoint).*", re.IGNORECASE | re.ASCII)


def valid_petname(text: str) -> bool:
    """Whether ``text`` can be a petname: ``[A-Za-z0-9][A-Za-z0-9._-]*``, 1 to 63 characters.

    Not what could be taken for an endpoint id or its first digits (8 or more hex digits, 52 base32
    characters), nor what begins like a ticket (``irosh1``, ``endpoint``).
    """
    return _PETNAME.fullmatch(text) is not None and _RESERVED.fullmatch(text) is None


def petname_from_hostname(hostname: str) -> str | None:
    """A petname made from what a peer says its host name is, or ``None`` if nothing usable is left.

    Keeps the first label, in lower case, with a ``-`` for every run of other characters.
    """
    label = hostname[:1024].partition(".")[0].lower()
    name = re.sub(r"[^a-z0-9_-]+", "-", label).strip("-_")[:LONGEST]
    return name if valid_petname(name) and name != "localhost" else None
