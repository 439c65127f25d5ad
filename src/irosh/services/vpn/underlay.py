"""How the node's own packets stay out of the tunnel they carry: relays, STUN, peers, name servers.

Of a node in this process, all sockets, those of the engine too, belong to a user id that nobody else has, by which the
kernel looks up their routes (``ip rule … uidrange``) from the first packet on, whatever address they go to, also when
the path changes later. Only the *file system* user id (setfsuid(2)) is another one: it is what new sockets are given;
everything else goes on as root, and programs that are started get it back. It is inherited by threads, so it is set
before there are any.

Such a process also looks up names as before: it has a mount namespace of its own, in which /etc/resolv.conf stays what
it was. The guard is started first and stays in the machine's.

The sockets of a node that runs already, in another process, are marked (:mod:`irosh.services.vpn.socket_mark`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.vpn.name_service import RESOLV_CONF, present_servers
from irosh.services.vpn.routing import MARK
from irosh.services.vpn.socket_mark import marked_sockets
from irosh.services.vpn.undo import run

USER_ID = 65_530
"""Of the sockets. Debian keeps these numbers for nobody, and systemd's dynamic users end before."""

# linux/prctl.h, linux/securebits.h, linux/sched.h, linux/mount.h
_GET_SECUREBITS, _SET_SECUREBITS = 27, 28
_NO_SETUID_FIXUP = 1 << 2
_NEW_MOUNT_NAMESPACE = 0x0002_0000
_RECURSIVE, _PRIVATE = 0x4000, 1 << 18

_RESOLVED = Path("/run/systemd/resolve")
_RESOLVED_STUBS = {"127.0.0.53", "127.0.0.54"}


def keep_out_own(*, resolved: bool) -> None:
    """Keep out what this process sends; before it has threads, and after the guard. ``IroshError`` (vpn-unavailable).

    ``resolved``: see :func:`uses_resolved`, as asked before.
    """
    _own_mounts(resolved=resolved)
    _own_socket_user()


@contextlib.contextmanager
def keeping_out(pid: int) -> Iterator[None]:
    """Keep out what process ``pid`` sends, while the context lasts. ``IroshError`` (vpn-unavailable)."""
    if pid == os.getpid():
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            if not Path(f"/proc/{pid}/ns/net").samefile("/proc/self/ns/net"):
                raise _cannot("it is in another network namespace")
            stack.enter_context(marked_sockets(pid, MARK))
        except OSError as error:
            raise _cannot(str(error.strerror or error)) from None
        yield


def _cannot(why: str) -> IroshError:
    return IroshError(
        ErrorCode.VPN_UNAVAILABLE,
        f"the running node's own packets cannot be kept out of the tunnel: {why}",
        "end it first, or use another --state",
    )


def uses_resolved() -> bool:
    """Whether programs on this machine look up names by way of systemd-resolved."""
    servers = present_servers()
    return bool(servers) and _RESOLVED_STUBS.issuperset(servers)


def _own_socket_user() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    before = libc.prctl(_GET_SECUREBITS, 0, 0, 0, 0)
    # So that the change of the user id takes no capability away; only for the moment, as it would be inherited.
    if before < 0 or libc.prctl(_SET_SECUREBITS, before | _NO_SETUID_FIXUP, 0, 0, 0) != 0:
        raise _failed("prctl")
    libc.setfsuid(USER_ID)
    if libc.setfsuid(-1) != USER_ID:
        raise _failed("setfsuid")
    if libc.prctl(_SET_SECUREBITS, before, 0, 0, 0) != 0:
        raise _failed("prctl")


def _own_mounts(*, resolved: bool) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_MOUNT_NAMESPACE) != 0:
        raise _failed("unshare")
    if libc.mount(None, b"/", None, _RECURSIVE | _PRIVATE, None) != 0:
        raise _failed("mount")
    if resolved and (_RESOLVED / "resolv.conf").exists():
        # Behind the stub there will be the tunnel; here its servers are asked themselves.
        run(["mount", "--bind", str(_RESOLVED / "resolv.conf"), os.path.realpath(RESOLV_CONF)])
        with contextlib.suppress(OSError):
            for entry in _RESOLVED.iterdir():
                if entry.is_socket():
                    run(["mount", "--bind", os.devnull, str(entry)])


def _failed(what: str) -> IroshError:
    number = ctypes.get_errno()
    return IroshError(
        ErrorCode.VPN_UNAVAILABLE,
        f"this machine does not let irosh keep its own packets out of the tunnel ({what}: {os.strerror(number)})",
        "in a container, it needs the capabilities CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_SETUID and CAP_SETPCAP",
    )
