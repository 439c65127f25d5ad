"""A command in two processes: one that the shell waits for, and one that works and may go to the background (``~&``).

A process with threads cannot fork, and a node has a thread; so the two part before there is one. The waiting process
passes on what happens to either: signals that are sent to it, and that the other stops, ends or leaves the terminal.
"""

from __future__ import annotations

import os
import signal

from irosh.faces.cli.standard_streams import lead_to_nothing

_PASSED = {signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGCONT}
_RELEASE = signal.SIGUSR1
_KERNEL = 0x80  # SI_KERNEL: from the terminal, which mostly tells the whole process group


class Foreground:
    """The working process's end. ``descriptor`` can be read, with nothing in it, once the waiting one has gone."""

    def __init__(self, waiting: int, descriptor: int) -> None:
        self._waiting = waiting
        self.descriptor = descriptor

    @classmethod
    def begin(cls) -> Foreground | None:
        """Fork; to be called before there is any thread. None where the system cannot say who sent a signal.

        Raises ``SystemExit`` in the waiting process, with the exit status of the other.
        """
        if not hasattr(signal, "sigwaitinfo"):
            return None
        waiting = os.getpid()
        reading, writing = os.pipe()
        watched = {*_PASSED, signal.SIGCHLD, _RELEASE}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
        child = os.fork()
        if child:
            os.close(reading)
            raise SystemExit(_wait(child, watched))
        os.close(writing)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return cls(waiting, reading)

    def release(self) -> None:
        """Let the shell go on, and leave its terminal. What is a terminal of the standard streams is closed."""
        os.setsid()  # first: where no shell waits, the terminal hangs up when the other process has gone
        os.kill(self._waiting, _RELEASE)
        os.read(self.descriptor, 1)  # until it has gone: the shell has the terminal from then on
        lead_to_nothing(*filter(os.isatty, (0, 1, 2)))


def _wait(child: int, watched: set[signal.Signals]) -> int:
    """Until ``child`` has ended or wants to be left alone; the exit status for the shell."""
    while True:
        info = signal.sigwaitinfo(watched)
        if info.si_signo == signal.SIGCHLD:
            ended = _look_at(child)
            if ended is not None:
                return ended
        elif info.si_signo == _RELEASE:
            if info.si_pid == child:
                return 0
        elif info.si_code != _KERNEL or _hung_up(info.si_signo):
            os.kill(child, info.si_signo)


def _hung_up(number: int) -> bool:
    """Whether the terminal has gone, which only the leader of its session is told."""
    return number == signal.SIGHUP and os.getsid(0) == os.getpid()


def _look_at(child: int) -> int | None:
    """What became of ``child``: its exit status if it has ended. Stops as it has stopped."""
    found, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
    if not found:
        return None
    if os.WIFSTOPPED(status):
        os.kill(os.getpid(), os.WSTOPSIG(status))
        return None
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
