"""What a peer may ask for, as values: the actions that :mod:`irosh.node.authorization` grants or denies. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from irosh.core.capability import GATEWAY_SCHEME, SocketKind, SocketSpec
from irosh.core.file_tree import FileTree
from irosh.core.policy import (
    PlainCapability,
)
from irosh.core.socket_spec import bracketed
from irosh.core.terms import Terms
from irosh.core.wording import escape


@dataclass(frozen=True)
class Use:
    """One of the plain capabilities; with several names any one of them is enough.

    ``heeds_terms``: who asks does as :class:`Terms` say. Of others shells and commands are denied where these restrict.
    """

    names: tuple[PlainCapability, ...]
    heeds_terms: bool = False

    def __str__(self) -> str:
        return "|".join(self.names)


MAY_SHARE = Use(("share",))
"""Let others take part in one's own sessions on the host."""


@dataclass(frozen=True)
class Enter:
    """Begin what asks for second factors itself, such as SSH's authentication: any one of these is enough."""

    names: tuple[PlainCapability, ...]

    def __str__(self) -> str:
        return "|".join(self.names)


@dataclass(frozen=True)
class AsUser:
    """Act as Unix user ``name`` on the host. ``entering``: so far only begin what asks for second factors itself.

    ``own``: it is the user that the host runs as, which takes no capability of its own.
    """

    name: str
    entering: bool = False
    own: bool = False

    def __str__(self) -> str:
        return f"user:{self.name}"


@dataclass(frozen=True)
class Files:
    """Use files on the host; :attr:`Grant.trees` says which. ``how`` is for the audit: sftp, scp, ...

    ``heeds_terms``: it is done as an account that was allowed already.
    """

    how: str = ""
    heeds_terms: bool = False

    def __str__(self) -> str:
        return f"files ({self.how})" if self.how else "files"


@dataclass(frozen=True)
class Reach:
    """Connect to (``forward``; ``gateway``: for SSH only) or bind (``listen``) a socket on the host."""

    kind: SocketKind
    spec: SocketSpec

    def __str__(self) -> str:
        if self.kind == "gateway":
            return f"gateway:{GATEWAY_SCHEME}://{bracketed(self.spec.host)}:{self.spec.port}"
        return f"{self.kind}:{self.spec}"


@dataclass(frozen=True)
class BringBack:
    """Bring a connection that this node asked the peer to wait for: ``token`` is what it gave out when it asked."""

    token: bytes = field(repr=False)
    listen: str
    """Where the peer says that it took the connection."""

    def __str__(self) -> str:
        return f"forwarded:{escape(self.listen, 200)}"


@dataclass(frozen=True)
class Join:
    """Take part in the shared session with the id ``session``."""

    session: str

    def __str__(self) -> str:
        return f"join:{self.session}"


Immediate = Use | Enter | AsUser | Files | Join | BringBack
"""Actions that need no name resolved."""
Action = Immediate | Reach


@dataclass(frozen=True)
class Grant:
    """A granted action.

    ``addresses``: for :class:`Reach`, the only addresses that may be used; never resolve again.
    ``trees``: for :class:`Files`, the only trees that may be used; never none. ``terms``: what else to heed.
    """

    action: Action
    addresses: tuple[str, ...] = ()
    trees: tuple[FileTree, ...] = ()
    terms: Terms | None = None

    def sockets(self) -> list[SocketSpec]:
        """For :class:`Reach`: the sockets that may be used."""
        assert isinstance(self.action, Reach)
        spec = self.action.spec
        if spec.protocol == "unix":
            return [replace(spec, path=self.addresses[0])]
        return [replace(spec, host=address) for address in self.addresses]
