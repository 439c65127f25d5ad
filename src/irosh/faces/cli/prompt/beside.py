"""What a session has besides its shell: forwards, transfers and the prompt from which they are begun."""

from __future__ import annotations

import sys
from contextlib import suppress

from irosh.core.errors import IroshError
from irosh.faces.cli.forwarding import Forwarding
from irosh.faces.cli.options import Settings
from irosh.faces.cli.prompt.console import Console
from irosh.faces.cli.prompt.context import PromptContext
from irosh.faces.cli.prompt.forwards import SessionForwards, forward_lines
from irosh.faces.cli.prompt.load import HostLoad
from irosh.faces.cli.prompt.transfers import Transfers
from irosh.faces.cli.terminal import LocalTerminal


class Beside:
    """Made when an escape first needs it; kept until the session ends."""

    def __init__(
        self,
        settings: Settings,
        peer: str,
        peer_id: str,
        user: str | None,
        given: Forwarding | None,
        *,
        through: bool = False,
    ) -> None:
        self._settings = settings
        self._console: Console | None = None
        self._load = HostLoad(settings, peer_id)
        self.forwards = SessionForwards(settings, peer_id, given, self._tell_now, through=through)
        self.transfers = Transfers(settings, peer_id, self._say)
        self.context = PromptContext(
            settings, peer, peer_id, user, say=self._say, forwards=self.forwards, transfers=self.transfers
        )

    def console(self, terminal: LocalTerminal) -> Console:
        """The prompt."""
        if self._console is None:
            self._console = Console(terminal, self._load)
        return self._console

    def connection_lines(self) -> list[str]:
        """Forwarded connections, for ``~#``."""
        try:
            lines = forward_lines(self.forwards.states())
        except IroshError as error:
            return [f"  {error.message}"]
        return ["The following connections are open:", *(f"  {each}" for each in lines)]

    def stop_listening(self) -> None:
        """Take no more forwarded connections; those that are open go on."""
        with suppress(IroshError):  # nothing is forwarded any more
            self.forwards.stop_listening()

    def finish(self) -> None:
        """Wait for connections and transfers that are under way; Ctrl-C ends them."""
        with suppress(IroshError, KeyboardInterrupt):
            self._wait()
        self._tell()

    def close(self) -> None:
        """End all."""
        for each in self.transfers.running():
            each.cancel()
        self.forwards.close()
        if self._console is not None:
            self._console.close()

    def _wait(self) -> None:
        running = self.transfers.lines()
        states = [state for state in self.forwards.states() if state.open]
        if running or states:
            lines = [*running, *forward_lines(states)]
            _print("irosh: waiting for transfers and forwarded connections to end (Ctrl-C ends them)", *lines)
            self.transfers.wait()
            self.forwards.wait_idle()

    def _tell(self) -> None:
        if self._console is not None:
            _print(*(f"irosh: {line}" for line in self._console.untold()))

    def _tell_now(self, text: str) -> None:
        """In the midst of the session, whose terminal is raw; as ssh tells of channels that could not be opened."""
        if self._console is not None and self._console.is_open:
            self._console.say(text)
        else:
            sys.stderr.write(f"irosh: {text}\r\n")
            sys.stderr.flush()

    def _say(self, text: str) -> None:
        if self._console is not None:
            self._console.say(text)


def _print(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr, flush=True)  # noqa: T201
