"""A security key for OpenSSH without hardware: a provider library built from ``tests/support/sk_provider.c``."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "support" / "sk_provider.c"
# Versions of sk-api.h, and since when OpenSSH has them: 8.9, 9.1.
API_VERSIONS = ("0x000a0000", "0x00090000")


class SoftAuthenticator:
    """Makes keys that ``ssh``, ``ssh-agent`` and ``ssh-keygen`` use by ``environment``."""

    def __init__(self, directory: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("needs cc: package gcc")
        self._directory = directory
        for version in API_VERSIONS:
            library = directory / f"sk-{version}.so"
            options = ("-shared", "-fPIC", f"-DSK_API_VERSION={version}", "-o", str(library))
            built = subprocess.run([compiler, *options, str(SOURCE), "-lcrypto"], capture_output=True, check=False)
            if built.returncode != 0:
                pytest.skip(f"needs libssl-dev to build a security key of software: {built.stderr.decode()[-300:]}")
            self.environment = {"SSH_SK_PROVIDER": str(library)}
            if self._enroll("probe") == 0:
                return
        pytest.skip("this OpenSSH takes no security key of software")

    def _enroll(self, name: str, *options: str) -> int:
        path = self._directory / name
        command = [
            "ssh-keygen",
            "-q",
            "-t",
            "ed25519-sk",
            "-w",
            self.environment["SSH_SK_PROVIDER"],
            "-N",
            "",
            *options,
        ]
        return subprocess.run([*command, "-f", str(path)], capture_output=True, check=False).returncode

    def make_key(self, name: str, *options: str) -> Path:
        """The private key's file of a new key; beside it the public one. ``options`` of ssh-keygen."""
        assert self._enroll(name, *options) == 0
        return self._directory / name
