"""The tables beside OpenSSH leave out no option that the installed programs have."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from tests.docs.markdown import ROOT

PAGE = (ROOT / "docs" / "openssh.md").read_text()
VERDICTS = ("same", "better", "another", "absent")

_GROUP = re.compile(r"\[-(\w+)([\] ])")


def _rows(program: str) -> dict[str, list[str]]:
    """The cells of each option's row."""
    section = PAGE.partition(f"\n## {program}\n")[2].partition("\n## ")[0]
    rows: dict[str, list[str]] = {}
    for line in section.splitlines():
        if line.startswith("| `-"):
            first, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            for option in re.findall(r"`-(\w)`", first):
                assert option not in rows, f"{program} -{option} twice"
                rows[option] = cells
    return rows


def _options(program: str) -> set[str]:
    """The options in the program's own usage."""
    done = subprocess.run([program, "-?"], capture_output=True, text=True, check=False)
    found = _GROUP.findall(done.stderr + done.stdout)
    return {letter for letters, after in found for letter in (letters if after == "]" else letters[:1])}


@pytest.mark.parametrize("program", ["ssh", "sftp", "scp"])
def test_no_option_is_missing(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}: see tests/packages.sh")
    options = _options(program)
    assert len(options) > 20, "its usage was not understood"
    assert not options - _rows(program).keys()


@pytest.mark.parametrize("program", ["ssh", "sftp", "scp"])
def test_every_row_has_a_verdict(program: str) -> None:
    for option, (ours, stock) in _rows(program).items():
        found = re.findall(r"\*\*(\w+)\*\*", ours)
        assert len(found) == 1 and found[0] in VERDICTS, f"{program} -{option}: {ours}"
        assert stock, f"{program} -{option}"
