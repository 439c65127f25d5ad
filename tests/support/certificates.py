"""A certificate authority run by the real ``ssh-keygen``."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from irosh.core.identity import Identity
from irosh.core.ssh_certificate import certificate_blob


class CertificateMaker:
    """Keeps its key in ``directory``. ``environment``: what ssh-keygen needs besides, for a security key."""

    def __init__(
        self,
        directory: Path,
        kind: str = "ed25519",
        *,
        bits: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._environment = {**os.environ, **(environment or {})}
        self.key = directory / "ca"
        size = [] if bits is None else ["-b", str(bits)]
        options = ["-q", "-t", kind, *size, "-N", "", "-C", "ca", "-f", str(self.key)]
        subprocess.run(["ssh-keygen", *options], check=True, env=self._environment, capture_output=True)
        self._number = 0

    @property
    def public_file(self) -> Path:
        """The file that hosts are given."""
        return self.key.with_suffix(".pub")

    @property
    def public_line(self) -> str:
        """The public key."""
        return self.public_file.read_text().strip()

    def certificate_file(
        self, identity: Identity, *options: str, key_id: str = "test", principals: str | None = "alice"
    ) -> Path:
        """The ``-cert.pub`` file of a new certificate; ``options`` of ``ssh-keygen -s``."""
        self._number += 1
        public = self._directory / f"identity{self._number}.pub"
        public.write_text(f"{identity.openssh_public_key('identity')}\n")
        names = [] if principals is None else ["-n", principals]
        command = ["ssh-keygen", "-q", "-s", str(self.key), "-I", key_id, *names, *options, str(public)]
        subprocess.run(command, check=True, capture_output=True, env=self._environment)
        return public.with_name(f"identity{self._number}-cert.pub")

    def certificate(
        self, identity: Identity, *options: str, key_id: str = "test", principals: str | None = "alice"
    ) -> bytes:
        """The same in the form of SSH."""
        file = self.certificate_file(identity, *options, key_id=key_id, principals=principals)
        return certificate_blob(file.read_text())
