"""Rules of nftables on a host, each set of them in a table of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tests.lab.machine import Machine
from tests.lab.namespace import serial

Hook = Literal["input", "forward", "output"]


class Filter:
    """Rules on the packets that a host receives, passes on or sends, until lifted."""

    def __init__(self, machine: Machine, rules: Sequence[str], *, hooks: Sequence[Hook] = ("forward",)) -> None:
        self._machine = machine
        self._table = f"lab_{next(serial)}"
        # Chain names must not be keywords of nft, such as "fwd".
        chains = (
            "\n".join([f"chain on_{hook} {{", f"type filter hook {hook} priority 0; policy accept;", *rules, "}"])
            for hook in hooks
        )
        load_rules(machine, f"table inet {self._table} {{\n" + "\n".join(chains) + "\n}\n")

    def lift(self) -> None:
        """Remove the rules."""
        load_rules(self._machine, f"delete table inet {self._table}\n")

    def dropped(self) -> int:
        """Packets that met the rules so far."""
        listing = self._machine.run("nft", "list", "table", "inet", self._table).stdout.decode()
        return sum(int(after.split()[0]) for after in listing.split("counter packets ")[1:])


def load_rules(machine: Machine, text: str) -> None:
    """Give nft a script; ``AssertionError`` with its complaint."""
    machine.run("nft", "-f", "-", stdin=text.encode())
