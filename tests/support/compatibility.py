"""The table of docs/compatibility.md: each row is a test that runs a real program against an irosh host.

``python -m tests.support.compatibility`` writes the table anew, with the versions on this machine.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from tests.lab.requirements import find_program

F = TypeVar("F", bound=Callable[..., Any])

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
MODULES = ("test_openssh", "test_forwarding_programs", "test_file_programs", "test_mount", "test_proxy_port")
BEGIN, END = "<!-- table -->", "<!-- end of table -->"
_HEAD = "| program | seen with | what the suite does with it | through |\n|---|---|---|---|\n"
_VERSION = re.compile(r"\d+(?:\.\d+)+(?:p\d+)?")
# program: how it is asked for its version
_ASKED = {
    "ssh": "ssh -V",
    "ssh-keyscan": "ssh -V",
    "sftp": "ssh -V",
    "scp": "ssh -V",
    "scp -O": "ssh -V",
    "rsync": "rsync --version",
    "sshfs": "sshfs --version | grep -i sshfs",
    "git": "git --version",
    "ansible": "ansible --version",
    "lftp": "lftp --version",
    "psftp": "psftp -V",
    "curl": "curl --version",
    "chromium": "chromium --version",
    "nc": "nc -h",
    "iperf3": "iperf3 --version",
    "AsyncSSH": f"{sys.executable} -c 'import asyncssh; print(asyncssh.__version__)'",
    "paramiko": "/usr/bin/python3 -c 'import paramiko; print(paramiko.__version__)'",
}


@dataclass(frozen=True)
class Row:
    """One program and what a test does with it. ``through``: how it gets to the host."""

    program: str
    does: str
    through: str

    def text(self, version: str) -> str:
        return f"| {self.program} | {version} | {self.does} | {self.through} |\n"


def shows(program: str, does: str, *, through: str = "`irosh proxy`") -> Callable[[F], F]:
    """Marks a test whose passing puts a row into the table."""

    def mark(test: F) -> F:
        rows = getattr(test, "compatibility", ())
        test.compatibility = (*rows, Row(program, does, through))  # type: ignore[attr-defined]
        return test

    return mark


def rows() -> Iterator[Row]:
    """All rows, in the order of the tests."""
    for name in MODULES:
        for thing in vars(import_module(f"tests.e2e.{name}")).values():
            yield from getattr(thing, "compatibility", ())
            for method in vars(thing).values() if isinstance(thing, type) else ():
                yield from getattr(method, "compatibility", ())


def table(version: Callable[[str], str]) -> str:
    """The whole table."""
    ordered = sorted(rows(), key=lambda row: list(_ASKED).index(row.program))
    return _HEAD + "".join(row.text(version(row.program)) for row in ordered)


def without_versions(text: str) -> str:
    """The table with that column emptied: it is another on every machine."""
    lines = [re.sub(r"^(\| [^|]+ \|)[^|]*\|", r"\1 |", line) for line in text.splitlines()[2:]]
    return "\n".join(lines)


def written() -> str:
    """The table as the page has it."""
    _, _, rest = PAGE.read_text().partition(f"{BEGIN}\n\n")
    return rest.partition(f"\n{END}")[0]


def installed_version(program: str) -> str:
    """The version on this machine; ``-`` without one."""
    asked = _ASKED[program]
    if find_program(asked.split()[0]) is None:
        return "-"
    done = subprocess.run(asked, shell=True, capture_output=True, text=True, check=False)
    found = _VERSION.search(done.stdout + done.stderr)
    return found[0] if found else "-"


def main() -> None:
    """Write the table into the page."""
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(installed_version)}\n{END}{after}")


if __name__ == "__main__":
    main()
