"""``-f``: a command that goes to the background once it stands, and reports failures before that in the foreground."""

from __future__ import annotations

import os
import signal

from irosh.faces.cli.standard_streams import lead_to_nothing

_READY = b"ready"


class Background:
    """The end of a process that shall go to the background."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    @classmethod
    def begin(cls) -> Background:
        """Fork. The new process goes on, with the terminal; this one waits for it, and ends as :meth:`stand` says.

        To be called before there is any thread: only the one that calls is there in the new process. Raises
        ``SystemExit`` in the waiting process: status 0 once the other stands, else the status with which it ended.
        """
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            return cls(writing)
        os.close(writing)
        # Ctrl-C reaches both as long as they share the terminal; how the other one takes it is what counts.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            stands = os.read(reading, len(_READY))
        except KeyboardInterrupt:
            os.kill(child, signal.SIGTERM)
            raise
        if stands:
            raise SystemExit(0)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        raise SystemExit(code if code >= 0 else 128 - code)

    def stand(self) -> None:
        """Leave the terminal: nothing is typed here any more, and its signals are for others."""
        os.setsid()
        lead_to_nothing(0)
        os.write(self._pipe, _READY)
        os.close(self._pipe)
