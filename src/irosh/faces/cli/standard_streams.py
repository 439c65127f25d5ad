"""The standard streams, of which whoever starts a program may have closed some."""

from __future__ import annotations

import os
import sys


def open_standard_streams() -> None:
    """Have those that are closed be ``/dev/null``, as ssh(1) does, before another file takes their place."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest number that is free: this one
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def lead_to_nothing(*numbers: int) -> None:
    """Have these standard streams be ``/dev/null`` from now on."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in numbers:
        os.dup2(nothing, number)
    os.close(nothing)
