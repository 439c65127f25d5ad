"""What the user's OpenSSH configuration says of a host, as ``ssh -G`` prints it. Pure: text in, values out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from irosh.core.hops import DEFAULT_PORT

STRICT = frozenset({"yes", "true"})
ACCEPT_NEW = frozenset({"accept-new", "no", "false", "off"})
"""``no`` would trust changed keys too; nothing here does."""


@dataclass(frozen=True)
class SshSettings:
    """Named as in ssh_config(5)."""

    hostname: str
    port: int = DEFAULT_PORT
    user: str = ""
    host_key_alias: str | None = None
    identity_files: tuple[str, ...] = ()
    identities_only: bool = False
    identity_agent: str | None = None
    """A path, ``none``, or None for ``SSH_AUTH_SOCK``."""
    user_known_hosts: tuple[str, ...] = ()
    global_known_hosts: tuple[str, ...] = ()
    strict_host_key_checking: str = "ask"
    hash_known_hosts: bool = False

    @property
    def known_as(self) -> str:
        """What the host is called in known_hosts files."""
        name = self.host_key_alias or self.hostname
        return name if self.port == DEFAULT_PORT or self.host_key_alias else f"[{name}]:{self.port}"


def parse_settings(text: str, host: str, expand: Callable[[str], str]) -> SshSettings:
    """The settings in what ``ssh -G`` printed; ``expand`` replaces a leading ``~``. What is missing is the default."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _, value = line.strip().partition(" ")
        found.setdefault(name.lower(), []).append(value.strip())

    def first(name: str, default: str = "") -> str:
        return found.get(name, [default])[0]

    def paths(name: str) -> tuple[str, ...]:
        return tuple(expand(path) for path in first(name).split() if path.lower() != "none")

    agent = first("identityagent", "SSH_AUTH_SOCK")
    port = first("port", str(DEFAULT_PORT))
    return SshSettings(
        hostname=first("hostname", host) or host,
        port=int(port) if port.isdecimal() else DEFAULT_PORT,
        user=first("user"),
        host_key_alias=first("hostkeyalias") or None,
        identity_files=tuple(dict.fromkeys(expand(path) for path in found.get("identityfile", []))),
        identities_only=first("identitiesonly") in STRICT,
        identity_agent=None if agent in ("SSH_AUTH_SOCK", "") else "none" if agent.lower() == "none" else expand(agent),
        user_known_hosts=paths("userknownhostsfile"),
        global_known_hosts=paths("globalknownhostsfile"),
        strict_host_key_checking=first("stricthostkeychecking", "ask").lower(),
        hash_known_hosts=first("hashknownhosts") in STRICT,
    )
