"""Asking a person for a secret: on the terminal, wherever the standard streams go, or by SSH_ASKPASS, as ssh(1)."""

from __future__ import annotations

import os
import subprocess

from irosh.core.errors import ErrorCode, IroshError

ASKPASS_DEADLINE = 300.0


def ask_secret(prompt: str, *, terminal: bool = True) -> str:
    """What the person answers. ``IroshError`` (factor-required) when there is nobody to ask, or nothing was answered.

    ``SSH_ASKPASS`` names a program that asks in place of a terminal: where there is none, or in any case with
    ``SSH_ASKPASS_REQUIRE=force``. Without ``terminal`` only that is asked.
    """
    program = os.environ.get("SSH_ASKPASS")
    how = os.environ.get("SSH_ASKPASS_REQUIRE", "")
    if program and how == "force":
        return _by_program(program, prompt)
    if terminal and _has_terminal():
        import getpass

        return getpass.getpass(prompt)
    if program and how != "never":
        return _by_program(program, prompt)
    raise IroshError(
        ErrorCode.FACTOR_REQUIRED,
        f"there is no terminal to ask on: {prompt.rstrip(': ')}",
        "run it on a terminal, or let SSH_ASKPASS name a program that prints the answer",
    )


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _by_program(program: str, prompt: str) -> str:
    try:
        done = subprocess.run(
            [program, prompt], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=ASKPASS_DEADLINE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise IroshError(ErrorCode.FACTOR_REQUIRED, f"cannot ask by {program}: {error}", "check SSH_ASKPASS") from None
    if done.returncode != 0:
        raise IroshError(ErrorCode.FACTOR_REQUIRED, f"{program} gave no answer")
    return done.stdout.decode(errors="replace").partition("\n")[0].rstrip("\r")
