"""What holds for all tests."""

from __future__ import annotations

import compileall
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import irosh
from tests.support.rc_files import hide_rc_files

# How long one example takes says how busy the machine is, and nothing of the code.
settings.register_profile("irosh", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("irosh")

# Whoever starts the tests in the background, or by nohup, has these ignored. The programs that the tests start would
# inherit it, and could not be interrupted.
for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)


def pytest_configure(config: pytest.Config) -> None:
    """Once for all workers, which are started after this."""
    if not hasattr(config, "workerinput"):
        # As an installation does: where Python may not write what it has compiled, each of the thousand programs that
        # the tests start would do it anew, which takes a third of its start.
        compileall.compile_dir(Path(irosh.__file__).parent, quiet=1)
        hide_rc_files()
