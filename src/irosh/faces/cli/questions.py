"""What the node asks the person at the command: whether to trust a key or use one, for a password."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from irosh.faces.cli.output import Output

ASKPASS_DEADLINE = 120.0  # the node takes no answer later than that
_TERMINAL = "/dev/tty"


class Questions:
    """Answers events ``question``; ``send`` sends a message to the node.

    On the terminal, or by the program in ``SSH_ASKPASS`` as ssh(1) does: where there is no terminal, and otherwise as
    ``SSH_ASKPASS_REQUIRE`` (``force``, ``prefer``, ``never``) says. Who reads JSON sits at no terminal.
    """

    def __init__(self, output: Output, send: Callable[[dict[str, Any]], None]) -> None:
        self._output = output
        self._send = send

    def handle(self, message: dict[str, Any]) -> bool:
        """Answer a question; False if the event is about something else."""
        if message.get("event") != "question":
            return False
        kind, text = str(message["kind"]), _shown(str(message["text"]))
        value = self._ask(kind, text)
        self._send({"reply": {"number": message["number"], "value": value}})
        return True

    def _ask(self, kind: str, text: str) -> str | None:
        """None when nobody answers."""
        program = os.environ.get("SSH_ASKPASS")
        how = os.environ.get("SSH_ASKPASS_REQUIRE", "")
        if program and how in ("force", "prefer"):
            return _by_program(program, kind, text)
        if not self._output.as_json and (answer := _on_terminal(kind, text)) is not None:
            return answer
        if program and how != "never":
            return _by_program(program, kind, text)
        return None


def _shown(text: str) -> str:
    """Line by line without what could move a cursor: parts of it come from elsewhere."""
    from irosh.faces.cli.table import printable

    return "\n".join(printable(line) for line in text.split("\n"))


def _on_terminal(kind: str, text: str) -> str | None:
    """Asked on the terminal, wherever the standard streams go; None when there is none, or at its end of input."""
    try:
        descriptor = os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return None
    with os.fdopen(descriptor, "wb+", buffering=0) as terminal:
        prompt = text if text.endswith(" ") else f"{text} "
        if kind == "secret":
            import getpass

            try:
                return getpass.getpass(prompt)
            except EOFError:
                terminal.write(b"\n")  # what comes next is not about this
                return None
        terminal.write(prompt.encode(errors="replace"))
        line = terminal.readline()
        return line.decode(errors="replace").rstrip("\r\n") if line else None


def _by_program(program: str, kind: str, text: str) -> str | None:
    """By SSH_ASKPASS: for a yes or no its exit status counts, as ssh-agent(1) takes it."""
    import subprocess

    confirms = {"SSH_ASKPASS_PROMPT": "confirm"} if kind == "confirm" else {}
    try:
        done = subprocess.run(
            [program, text],
            env={**os.environ, **confirms},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=ASKPASS_DEADLINE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    said = done.stdout.decode(errors="replace").partition("\n")[0].rstrip("\r")
    return said or "yes" if kind == "confirm" else said
