"""What a test needs of the machine it runs on, and skipping it with the reason where that is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache

import pytest

_SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def find_program(name: str) -> str | None:
    """The path of a program, also of those that only root has on its PATH."""
    return shutil.which(name, path=_SYSTEM_PATH)


def requires(*programs: str) -> pytest.MarkDecorator:
    """Skip unless all ``programs`` are installed."""
    missing = [name for name in programs if find_program(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}: see tests/packages.sh")


def requires_netns() -> pytest.MarkDecorator:
    """Skip unless network namespaces can be made. Modules that use it also carry the marker ``netns``."""
    problem = _namespace_problem()
    return pytest.mark.skipif(problem is not None, reason=f"needs network namespaces: {problem}")


def requires_shaping() -> pytest.MarkDecorator:
    """Skip unless links can be shaped, besides :func:`requires_netns`."""
    missing = find_program("tc") is None or not os.path.exists("/dev/net/tun")
    return pytest.mark.skipif(missing, reason="needs tc and /dev/net/tun, to shape links")


def requires_fuse() -> pytest.MarkDecorator:
    """Skip unless file systems can be mounted by FUSE."""
    usable = os.access("/dev/fuse", os.R_OK | os.W_OK)
    return pytest.mark.skipif(not usable, reason="needs /dev/fuse")


@cache
def _namespace_problem() -> str | None:
    if os.geteuid() != 0:
        return "not root"
    for program in ("ip", "nft"):
        if find_program(program) is None:
            return f"no {program}"
    name = f"irosh-lab-{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return made.stderr.strip() or "ip netns add fails"
    subprocess.run(["ip", "netns", "delete", name], check=False)
    return None
