"""What ssh_config(5) is told of machines behind gateways: whatever these show, it stays what it is meant to be."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from irosh.core.gateway_list import checked_entries
from irosh.core.machine_store import Machine
from irosh.faces.cli.ssh_config import machine_block

LINES = re.compile(
    r"Host [\w.-]+\.gw\.irosh( [\w.-]+\.gw\.irosh)?( [\w.-]+){0,2}\n"
    r"(    User [\w.@+\\$-]+\n)?"
    r"    HostName [\w.:%-]+\n"
    r"    Port \d+\n"
    r"    ProxyCommand irosh proxy gw/[\w.-]+",
    re.ASCII,
)
TEXT = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["root", "a b", "x\n    ProxyCommand evil", "%h", "*", "!x", "fe80::1%eth0", "10.0.0.1", "h", '"', "$(id)", "a\\b"]
)


@given(TEXT, TEXT, TEXT, st.booleans())
def test_no_line_is_forged(name: str, user: str, host: str, by_name: bool) -> None:
    for url in (f"ssh://{user}@{host}", f"ssh://{host}:22", f"ssh://{user}@[{host}]"):
        for good, plain in checked_entries({name: url, "printer": url}).items():
            machine = Machine(good, "id", "gw", plain, 0.0, unique=True)
            assert LINES.fullmatch(machine_block(machine, ["irosh"], by_name=by_name)), (good, plain)
