"""Second factors of a client: required of it, and given by a program."""

from __future__ import annotations

from pathlib import Path

from tests.lab.pair import Pair

PASSWORD = "correct horse battery"


def client_name(pair: Pair) -> str:
    """What the host calls the client."""
    (peer,) = pair.host.call("peer", "list")["peers"]
    return str(peer["petname"])


def require_password(pair: Pair, password: str = PASSWORD) -> None:
    done = pair.host.run("peer", "require", client_name(pair), "password", stdin=f"{password}\n".encode())
    assert done.returncode == 0, done.stderr


def askpass(directory: Path, answer: str) -> dict[str, str]:
    """The environment with a program that answers."""
    program = directory / "askpass"
    program.write_text(f"#!/bin/sh\necho \"$1\" >>{directory}/asked\necho '{answer}'\n")
    program.chmod(0o700)
    return {"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"}
