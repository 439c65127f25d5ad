"""A real ssh-agent(1) with a key of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.machine import LOCAL, Machine
from tests.lab.sshd import new_key


@dataclass(frozen=True)
class Agent:
    """A running agent that holds ``key``."""

    socket: Path
    key: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to find it."""
        return {"SSH_AUTH_SOCK": str(self.socket)}

    @property
    def blob(self) -> str:
        """The key's public half, in base64."""
        return self.key.with_suffix(".pub").read_text().split()[1]


@contextmanager
def ssh_agent(directory: Path, machine: Machine = LOCAL) -> Iterator[Agent]:
    """An agent for the length of the block; ``directory`` exists and has a short path."""
    socket = directory / "agent"
    key = new_key(directory / "agent_key")
    with machine.running("ssh-agent", "-D", "-a", str(socket), ready=socket.exists):
        agent = Agent(socket, key)
        LOCAL.run("ssh-add", "-q", str(key), environment=agent.environment)
        yield agent
