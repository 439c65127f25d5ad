"""What holds for all tests."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# How long one example takes says how busy the machine is, and nothing of the code.
settings.register_profile("irosh", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("irosh")

# Whoever starts the tests in the background, or by nohup, has these ignored. The programs that the tests start would
# inherit it, and could not be interrupted.
for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)
