"""How this process's own packets stay out of the tunnel they carry: relays, STUN, peers, name servers.

All sockets of the process, those of the engine too, belong to a user id that nobody else has, by which the kernel looks
up their routes (``ip rule … uidrange``) from the first packet on, whatever address they go to, also when the path
changes later. Only the *file system* user id (setfsuid(2)) is another one: it is what new sockets are given; everything
else goes on as root, and programs that are started get it back. It is inherited by threads, so it is set before there
are any.

The process also looks up names as before: it has a mount namespace of its own, in which /etc/resolv.conf stays what it
was. The guard is started first and stays in the machine's.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.vpn.guard import Guard
from irosh.services.vpn.name_service import RESOLV_CONF, name_servers
from irosh.services.vpn.system import check_able
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

_guard: Guard | None = None
_resolved = False


def prepare() -> None:
    """Make this process one that can carry a tunnel; before it has threads. ``IroshError`` (vpn-unavailable)."""
    global _guard, _resolved
    check_able("this machine")
    guard = Guard()
    try:
        _resolved = _uses_resolved()
        _own_mounts()
        _own_socket_user()
    except BaseException:
        guard.close()
        raise
    _guard = guard


def release() -> None:
    """Undo what is left, and end the guard."""
    global _guard
    if _guard is not None:
        _guard.close()
        _guard = None


def prepared_guard() -> Guard:
    """The guard of a process that is prepared. ``IroshError`` (vpn-unavailable)."""
    if _guard is None:
        raise IroshError(
            ErrorCode.VPN_UNAVAILABLE,
            "the running node was not started by `irosh vpn`: its own packets would go into the tunnel",
            "end it first, or use another --state",
        )
    return _guard


def machine_resolved() -> bool:
    """Whether programs on this machine look up names by way of systemd-resolved; this process does not."""
    return _resolved


def _uses_resolved() -> bool:
    try:
        servers = name_servers(RESOLV_CONF.read_text())
    except (OSError, ValueError):
        return False
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


def _own_mounts() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_MOUNT_NAMESPACE) != 0:
        raise _failed("unshare")
    if libc.mount(None, b"/", None, _RECURSIVE | _PRIVATE, None) != 0:
        raise _failed("mount")
    if _resolved and (_RESOLVED / "resolv.conf").exists():
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
