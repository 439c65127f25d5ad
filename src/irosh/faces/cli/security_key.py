"""Signing with a FIDO2 security key, by the OpenSSH that made it: ``ssh-keygen -Y sign``, in the agent or by a file.

OpenSSH talks to the authenticator, asks for its PIN and says when to touch it, as the person knows it from ssh(1).
"""

from __future__ import annotations

import base64
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.security_key import NAMESPACE, parse_security_key, parse_sshsig
from irosh.faces.cli.output import Output
from irosh.faces.cli.table import printable

FILES = ("id_ed25519_sk", "id_ecdsa_sk")
"""Key files in ``~/.ssh`` that are looked at, as ssh(1) does."""
SIGN_DEADLINE = 120.0  # seconds to find the key and touch it


def sign_with_security_key(host: str, keys: Sequence[str], message: bytes, output: Output) -> dict[str, Any]:
    """The answer to a challenge: ``message`` signed by one of ``keys``. ``IroshError`` (factor-required)."""
    wanted = {parse_security_key(line).blob: line for line in keys}
    if not wanted:
        raise IroshError(ErrorCode.FACTOR_REQUIRED, f"{host} knows no security key of this machine")
    output.event("security-key", {"host": host}, f"irosh: {host} asks for the security key; touch it when it blinks")
    failure = "no agent and no file in ~/.ssh has it"
    for path, blob in _candidates(wanted):
        try:
            public, signature = _sign(path, message)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            failure = str(error)
            continue
        if public == blob:
            return {
                "key": base64.b64encode(public).decode(),
                "signature": base64.b64encode(signature).decode(),
            }
    raise IroshError(
        ErrorCode.FACTOR_REQUIRED,
        f"the security key could not be used: {failure}",
        "ssh-add its key file, or put that into ~/.ssh as id_ed25519_sk or id_ecdsa_sk",
    )


def _candidates(wanted: dict[bytes, str]) -> list[tuple[Path | str, bytes]]:
    """Key files, and public keys (as lines) that the agent has, of those wanted; the agent's first."""
    found: list[tuple[Path | str, bytes]] = []
    offered = map(_blob, _agent_lines())
    found.extend((wanted[blob], blob) for blob in offered if blob in wanted)
    for name in FILES:
        path = Path.home() / ".ssh" / name
        try:
            blob = _blob(path.with_name(f"{name}.pub").read_text(errors="replace"))
        except OSError:
            continue
        if blob in wanted:
            found.append((path, blob))
    return found


def _agent_lines() -> list[str]:
    try:
        done = subprocess.run(["ssh-add", "-L"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


def _blob(line: str) -> bytes:
    try:
        return parse_security_key(line).blob
    except IroshError:
        return b""


def _sign(key: Path | str, message: bytes) -> tuple[bytes, bytes]:
    """By a key file, or by the agent with the public key ``key``."""
    with tempfile.TemporaryDirectory() as directory:
        if isinstance(key, str):
            path = Path(directory) / "key.pub"
            path.write_text(f"{key}\n")
            key = path
        done = subprocess.run(
            ["ssh-keygen", "-Y", "sign", "-f", str(key), "-n", NAMESPACE],
            input=message,
            capture_output=True,
            timeout=SIGN_DEADLINE,
            check=False,
        )
    if done.returncode != 0:
        said = printable(done.stderr.decode(errors="replace").strip().rpartition("\n")[2])
        raise ValueError(said or "ssh-keygen failed")
    return parse_sshsig(done.stdout)
