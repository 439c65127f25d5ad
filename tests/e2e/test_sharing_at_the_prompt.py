"""``~C share``: a session that was begun with ``irosh connect`` is shared while it runs."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

from tests.e2e.captured_sessions import ask, begin, open_prompt, same_screen
from tests.lab.captured import CapturedTerminal
from tests.lab.irosh_process import Irosh
from tests.lab.machine import LOCAL
from tests.lab.pair import PEER, Pair
from tests.lab.processes import wait_until

_TICKET = re.compile(r"irosh join (irosh1[a-z0-9]+)")


def sessions(host: Irosh) -> dict[str, bool]:
    """The names of those that the host keeps, and whether they are shared."""
    return {str(each["name"]): bool(each["shared"]) for each in host.call("session", "list")["sessions"]}


def test_three_take_part_one_of_them_looking_only(loopback_pair: Pair, tmp_path: Path) -> None:
    client = loopback_pair.add_client(tmp_path / "client", allow=["shell", "share"])
    with ExitStack() as stack:
        owner = stack.enter_context(CapturedTerminal((*client.command, "connect", PEER)))
        begin(owner)
        open_prompt(owner)
        said = ask(owner, "share --read-only --users 2", "irosh join")
        found = _TICKET.search(said)
        assert found is not None, said
        guests = []
        for name in ("one", "two"):
            command = (*Irosh(LOCAL, tmp_path / name).command, "join", found[1])
            guests.append(stack.enter_context(CapturedTerminal(command)))
            guests[-1].wait_for("ready 42")
        one, two = guests
        there = re.findall(r"(\S+) +guest", ask(owner, "who", "guest"))
        ask(owner, f"grant {there[0]}", "may type")
        owner.press(b"\r")
        owner.wait_for("shell>")
        one.type("echo from one $((1 + 1))")
        for terminal in (owner, one, two):
            terminal.wait_for("from one 2")
        two.type("echo from two $((1 + 1))")
        owner.type("echo from owner $((2 + 2))")
        for terminal in (owner, one, two):
            assert "from two" not in "\n".join(terminal.wait_for("from owner 4"))
        wait_until(lambda: same_screen(owner, one) and same_screen(one, two), what="all show the same")
        open_prompt(owner)
        ask(owner, "unshare", "2 had to leave")
        assert [each.wait_exit() for each in guests] == [255, 255]
        owner.press(b"\r")
        owner.type("exit 3")
        assert owner.wait_exit() == 3


def test_a_host_that_does_not_allow_it_says_so(loopback_pair: Pair) -> None:
    with CapturedTerminal((*loopback_pair.client.command, "connect", PEER)) as owner:
        begin(owner)
        open_prompt(owner)
        ask(owner, "who", "`share` lets others join it")
        ask(owner, "share", "irosh peer allow NAME 'share'")
        assert sessions(loopback_pair.host) == {}
        owner.press(b"\r")
        owner.type("exit 4")
        assert owner.wait_exit() == 4


def test_it_ends_when_its_owner_leaves_but_not_by_detaching(loopback_pair: Pair, tmp_path: Path) -> None:
    host = loopback_pair.host
    client = loopback_pair.add_client(tmp_path / "client", allow=["shell", "share"])
    for keys, status, stays in ((b"\r~.", 255, False), (b"\r~d", 0, True)):
        with CapturedTerminal((*client.command, "connect", PEER)) as owner:
            begin(owner)
            open_prompt(owner)
            ask(owner, "share", "irosh join")
            (name,) = sessions(host)
            owner.press(b"\r")
            owner.wait_for("shell>")
            owner.press(keys)
            assert owner.wait_exit() == status
        expected = {name: True} if stays else {}
        wait_until(lambda: sessions(host) == expected, what="it has ended, or stays")  # noqa: B023
    host.call("peer", "allow", "--replace", client.call("identity", "show")["id"], "shell")
    wait_until(lambda: sessions(host) == {name: False}, what="it is shared no more")
    host.call("session", "kill", name)
