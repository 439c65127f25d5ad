"""Names in a folder of the peer, for completing paths, asked by running ls(1) there: needs the capability ``exec``."""

from __future__ import annotations

import shlex
import time

from irosh.core.errors import IroshError
from irosh.core.state import StateDirectory
from irosh.faces.cli.prompt.context import PromptContext
from irosh.node.control_client import ControlClient
from irosh.node.control_wire import Kind

PATIENCE = 2.0  # seconds, for all of it
MAX_LISTING = 256 * 1024  # bytes


def remote_names(context: PromptContext, folder: str) -> list[str]:
    """Names in ``folder``, those of folders with ``/`` behind; none when the peer does not tell soon."""
    # What a folder is called must not be taken for an option, nor by the shell there for anything else.
    where = f"./{folder}" if not folder.startswith(("/", "~")) else folder
    home, slash, rest = where.partition("/")
    spelled = home + slash + shlex.quote(rest) if home == "~" and rest else "~" if where == "~" else shlex.quote(where)
    request = {"target": context.peer_id, "user": context.user, "command": f"ls -1ap {spelled}", "env": {"LC_ALL": "C"}}
    listing = bytearray()
    deadline = time.monotonic() + PATIENCE
    try:
        with ControlClient(StateDirectory(context.settings.state_path).control_socket_path) as client:
            client.request("connect", request)
            while len(listing) < MAX_LISTING:
                client.socket.settimeout(max(0.01, deadline - time.monotonic()))
                for kind, payload in client.receive():
                    if kind is Kind.STDOUT:
                        listing += payload
                    elif kind is Kind.MESSAGE and b'"ok"' in payload:
                        return _names(bytes(listing))
    except IroshError:
        return []
    return _names(bytes(listing))


def _names(listing: bytes) -> list[str]:
    lines = listing.decode(errors="replace").split("\n")
    return [line for line in lines[:-1] if line not in ("./", "../")]
