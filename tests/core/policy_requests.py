"""What a peer may ask, as values: one question form for all of the policy's functions, for the property tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from irosh.core.capability import Capability, SocketKind
from irosh.core.policy import permits, permits_unix, permits_user, permitted_addresses
from irosh.core.socket_spec import Protocol, SocketSpec


@dataclass(frozen=True, slots=True)
class Simple:
    """A request for something that takes no argument."""

    name: Literal["shell", "exec", "files"]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class AsUser:
    """A request to run as the Unix user ``name``."""

    name: str

    def __str__(self) -> str:
        return f"user:{self.name}"


@dataclass(frozen=True, slots=True)
class _SocketRequest:
    protocol: Protocol
    host: str = ""
    port: int = 0
    path: str = ""

    kind: ClassVar[SocketKind]

    @property
    def spec(self) -> SocketSpec:
        """The socket asked for."""
        return SocketSpec(self.protocol, self.host, self.port, self.path)

    def __str__(self) -> str:
        return f"{self.kind}:{self.spec}"


@dataclass(frozen=True, slots=True)
class Forward(_SocketRequest):
    """A request that the host connect to a socket."""

    kind: ClassVar[SocketKind] = "forward"


@dataclass(frozen=True, slots=True)
class Listen(_SocketRequest):
    """A request that the host listen on a socket."""

    kind: ClassVar[SocketKind] = "listen"


Request = Simple | AsUser | Forward | Listen
"""What a peer may ask. ``str()`` of it is the text of the capability that permits just this."""


def permits_request(capabilities: Iterable[Capability], request: Request, resolved: Sequence[str] = ()) -> bool:
    """Whether anything of ``request`` is permitted. ``resolved``: the addresses of its host name, if any.

    The path of a request for a Unix socket must be the real one (:func:`permits_unix`). To connect or listen,
    use the addresses that :func:`permitted_addresses` returns.
    """
    if isinstance(request, Simple):
        return permits(capabilities, request.name)
    if isinstance(request, AsUser):
        return permits_user(capabilities, request.name)
    if request.protocol == "unix":
        return permits_unix(capabilities, request.kind, request.path)
    return bool(permitted_addresses(capabilities, request.kind, request.spec, resolved))
