"""The guard: a small process that undoes what another one changed on this machine, once that one has gone.

It reads one JSON object a line from standard input: ``{"id": ID, "undo": STEPS}`` adds steps to what is to be undone
for ID, ``{"id": ID}`` undoes them now, ``{"run": COMMAND}`` runs a program in the guard's mount namespace. Each is
answered by a line: ``null``, or what went wrong. The end of input, which the death of the other process is, undoes all.
"""

from __future__ import annotations

import json
import signal
import sys

from irosh.services.vpn.undo import Step, run, undo


def main() -> None:
    """Serve standard input to its end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    kept: dict[str, list[Step]] = {}
    try:
        for line in sys.stdin:
            asked = json.loads(line)
            answer = None
            if "run" in asked:
                answer = run(asked["run"])
            elif "undo" in asked:
                kept.setdefault(asked["id"], []).extend((kind, arguments) for kind, arguments in asked["undo"])
            else:
                undo(kept.pop(asked["id"], []))
            print(json.dumps(answer), flush=True)  # noqa: T201
    finally:
        for steps in reversed(list(kept.values())):
            undo(steps)


if __name__ == "__main__":
    main()
