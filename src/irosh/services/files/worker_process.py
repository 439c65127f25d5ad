"""How the process that serves a peer's files is started.

A process for each, as OpenSSH does: the account's rights are the kernel's affair then, and a disk that is slow holds
up nobody else. It is a bare Python that knows this package only, without ``site`` and without the environment: it
starts in a fraction of the time that a full one takes, and nothing of the account has a say in what is imported.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from irosh.core.file_tree import EVERYTHING, FileTree
from irosh.node.accounts import Account

_SOURCE = str(Path(__file__).parents[3])
_START = "import sys, runpy; sys.path[:0] = {paths!r}; runpy.run_module({module!r}, run_name='__main__', alter_sys=1)"


def worker_arguments(
    account: Account, trees: Sequence[FileTree], *, module: str, paths: Sequence[str] = (), **asked: object
) -> list[str]:
    """The command that runs ``module`` for ``account`` on ``trees``; it must call ``become`` first.

    ``asked`` is what else the module is told, as JSON beside ``account``, ``home`` and ``trees``. ``paths``: where else
    it may import from. The command starts with the host's rights.
    """
    told: dict[str, Any] = {
        "account": {"uid": account.uid, "gid": account.gid, "groups": account.groups} if account.switch else None,
        "home": account.home,
        "trees": None if tuple(trees) == (EVERYTHING,) else [(tree.path, tree.read_only) for tree in trees],
        **asked,
    }
    start = _START.format(paths=[_SOURCE, *paths], module=module)
    return [sys.executable, "-I", "-S", "-c", start, json.dumps(told)]
