"""The process that serves one peer's files. Started by :mod:`irosh.services.files.worker_process`.

It gives up the host's rights before it reads a byte of what the peer sends. All that it needs is imported by then: the
account may not be able to read where this package is installed.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import Any

from irosh.services.files.scp_command import parse_scp_command
from irosh.services.files.scp_server import ScpServer
from irosh.services.files.sftp_handles import MAX_HANDLES
from irosh.services.files.sftp_server import SFTPServer
from irosh.services.files.sftp_wire import BadPacket
from irosh.services.files.tree import Tree
from irosh.services.files.view import View, confined, everything

_DESCRIPTORS = 2 * MAX_HANDLES + 300  # two for a directory that is being read; those of a path being resolved


def become(account: Any) -> None:
    """Become the account: ``uid``, ``gid`` and ``groups``; None stays as we are. ``OSError`` when that fails."""
    if account is None:
        return
    os.setgroups(account["groups"])
    os.setgid(account["gid"])
    os.setuid(account["uid"])
    if (os.getuid(), os.geteuid(), os.getgid(), os.getegid()) != (account["uid"],) * 2 + (account["gid"],) * 2:
        raise PermissionError("the host's rights could not be given up")


def view_of(trees: list[tuple[str, bool]] | None, home: str) -> View:
    """The peer's view: ``trees``, or everything."""
    return everything(home) if trees is None else confined(trees)


def main() -> int:
    """Serve standard input and output, as the only argument says."""
    asked = json.loads(sys.argv[1])
    become(asked["account"])
    os.chdir("/")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    tree = Tree(view_of(asked["trees"], asked["home"]))
    try:
        tree.stat(b"/")
        if asked["scp"] is not None:
            command = parse_scp_command(asked["scp"])
            assert command is not None
            return ScpServer(tree, command, 0, 1).run()
        SFTPServer(tree, 0, 1, standard_links=asked["standard_links"]).run()
    except BadPacket as error:
        return _failed(f"not SFTP: {error}")
    except BrokenPipeError:
        return 1  # the peer has gone
    except OSError as error:
        return _failed(f"the files are not there: {error.strerror}")
    return 0


def _failed(message: str) -> int:
    sys.stderr.write(f"irosh: {message}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
