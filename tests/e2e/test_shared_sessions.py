"""One terminal for several people: `irosh share` and `irosh join`."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.captured_sessions import same_screen
from tests.lab.captured import CapturedTerminal
from tests.lab.irosh_process import Irosh
from tests.lab.machine import LOCAL
from tests.lab.processes import wait_until
from tests.lab.requirements import find_program, requires
from tests.lab.terminal import Terminal

EDITOR = next((f"{name} -u NONE" for name in ("vim", "vi") if find_program(name)), None)
_TICKET = re.compile(r"irosh join (irosh1[a-z0-9]+)")


@dataclass
class Shared:
    """A shared session: the owner's terminal, and whoever joins."""

    host: Irosh
    owner: CapturedTerminal
    ticket: str
    directory: Path
    stack: ExitStack

    def guest(self, name: str) -> Irosh:
        """A machine of somebody else."""
        return Irosh(LOCAL, self.directory / name)

    def join(self, guest: Irosh, *, columns: int = 80, rows: int = 24, reads: bool = True) -> CapturedTerminal:
        """The guest joins, with a terminal of this size."""
        command = (*guest.command, "join", self.ticket)
        return self.stack.enter_context(CapturedTerminal(command, columns=columns, rows=rows, reads=reads))

    def who(self) -> list[dict[str, object]]:
        """Who is at the session."""
        participants: list[dict[str, object]] = self.host.call("session", "who")["participants"]
        return participants

    def guests(self) -> list[str]:
        """The names of the guests, in the order of their coming."""
        return [str(each["who"]) for each in self.who() if not each["owner"]]


@contextmanager
def sharing(directory: Path, *options: str, columns: int = 80, rows: int = 24) -> Iterator[Shared]:
    """``irosh share`` in a terminal for the length of the block, with a prompt to be relied on."""
    host = Irosh(LOCAL, directory / "host")
    with ExitStack() as stack:
        command = (*host.command, "share", *options)
        owner = stack.enter_context(CapturedTerminal(command, columns=columns, rows=rows))
        wait_until(lambda: b"Enter begins" in owner.output(), what="the ticket is shown")
        found = _TICKET.search(owner.output().decode())
        assert found is not None
        owner.press(b"\r")
        owner.type("PS1='prompt> '; echo ready $((40 + 2))")
        owner.wait_for("ready 42")
        yield Shared(host, owner, found[1], directory, stack)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_it_can_be_ended_before_it_has_begun(tmp_path: Path, number: signal.Signals) -> None:
    host = Irosh(LOCAL, tmp_path / "host")
    with CapturedTerminal((*host.command, "share")) as owner:
        wait_until(lambda: b"Enter begins" in owner.output(), what="the ticket is shown")
        owner.process.send_signal(number)
        assert owner.wait_exit() == 130


def test_three_take_part_one_of_them_looking_only(tmp_path: Path) -> None:
    with sharing(tmp_path, "--users", "2", "--read-only") as shared:
        one = shared.join(shared.guest("one"))
        one.wait_for("ready 42")
        two = shared.join(shared.guest("two"))
        two.wait_for("ready 42")
        assert [each["may_type"] for each in shared.who()] == [True, False, False]
        first, _ = shared.guests()
        shared.host.call("session", "grant", first)
        one.type("echo from one $((1 + 1))")
        for terminal in (shared.owner, one, two):
            terminal.wait_for("from one 2")
        two.type("echo from two $((1 + 1))")
        shared.owner.type("echo from owner $((2 + 2))")
        for terminal in (shared.owner, one, two):
            assert "from two" not in "\n".join(terminal.wait_for("from owner 4"))
        wait_until(lambda: same_screen(shared.owner, one) and same_screen(one, two), what="all show the same")
        shared.owner.type("exit 3")
        assert [each.wait_exit() for each in (shared.owner, one, two)] == [3, 3, 3]


def test_a_late_joiner_sees_what_the_owner_sees(tmp_path: Path) -> None:
    with sharing(tmp_path) as shared:
        owner = shared.owner
        colours = "\\033[1;31mred \\033[38;5;208morange\\033[0;7m reverse\\033[m 中文 wide é\\n"
        owner.type(f"seq 200; printf '{colours}'; printf 'a\\tb'")
        owner.wait_for("orange reverse 中文 wide é")
        late = shared.join(shared.guest("late"))
        late.wait_for("orange")
        wait_until(lambda: same_screen(owner, late), what="the late joiner sees the same")
        assert b"\n150\x1b" in late.output() or b"\n150\r" in late.output()  # scrollback too
        owner.type("echo more; echo 中文")
        owner.wait_for("more")
        wait_until(lambda: same_screen(owner, late), what="both go on the same")


@pytest.mark.skipif(EDITOR is None, reason="needs vim or vi: see tests/packages.sh")
def test_a_late_joiner_sees_the_editor_and_its_keys_work(tmp_path: Path) -> None:
    text = tmp_path / "poem.txt"
    text.write_text("".join(f"line {number} of the poem\n" for number in range(1, 31)))
    with sharing(tmp_path) as shared:
        owner = shared.owner
        owner.type(f"cd {tmp_path}; {EDITOR} poem.txt")
        owner.wait_for("line 22 of the poem")
        owner.press(b":set ruler\r5G3l")
        owner.wait_for("5,4")
        late = shared.join(shared.guest("late"))
        late.wait_for("line 22 of the poem")
        wait_until(lambda: same_screen(owner, late), what="the late joiner sees the same")
        late.press(b"x:w\r")
        wait_until(lambda: "lin 5 of the poem" in text.read_text(), what="the guest has edited where the cursor was")
        late.press(b":q\r")
        owner.wait_for("prompt>")
        late.wait_for("prompt>")


def test_left_to_the_background_it_goes_on_and_its_owner_comes_back(tmp_path: Path) -> None:
    with sharing(tmp_path, "--session", "pair") as shared:
        guest = shared.join(shared.guest("guest"))
        guest.wait_for("ready 42")
        shared.owner.press(b"\r~?")
        help_text = "\n".join(shared.owner.wait_for("~d"))
        assert "~&" in help_text and "stays in the foreground" not in help_text
        shared.owner.type("printf '\\033[?1049hfull screen'")
        shared.owner.wait_for("full screen")
        shared.owner.press(b"\r~&")
        assert shared.owner.wait_exit() == 0
        shared.owner.wait_for("[backgrounded]")
        assert b"\x1b[?1049l" in shared.owner.output().partition(b"[backgrounded]")[0]  # as a shell expects it
        guest.type("echo as $((6 * 7)); sleep 1000")
        attach = (*shared.host.command, "session", "attach", "pair")
        back = shared.stack.enter_context(CapturedTerminal(attach))
        back.wait_for("as 42")
        back.press(b"\r~B")
        back.type("echo broken $?")
        back.wait_for("broken 130")
        guest.press(b"\r~&")
        assert guest.wait_exit() == 0
        wait_until(lambda: shared.guests() == [], what="the guest has left")
        back.type("exit 3")
        assert back.wait_exit() == 3
        wait_until(lambda: not shared.host.control_socket.exists(), what="the command has ended in the background")


@requires("tmux")
def test_in_tmux_too_a_late_joiner_sees_what_the_owner_sees(tmp_path: Path) -> None:
    host, guest = Irosh(LOCAL, tmp_path / "host"), Irosh(LOCAL, tmp_path / "guest")
    places = [tmp_path / name for name in ("one", "two")]
    for place in places:
        place.mkdir()
    with Terminal.open(LOCAL, places[0], *host.command, "share", columns=160, rows=30) as owner:
        screen = owner.wait_for("Enter begins")
        found = _TICKET.search(screen.replace("\n", ""))
        assert found is not None
        ticket = found[1].removesuffix("Enter")
        owner.press("Enter")
        owner.type("PS1='prompt> '; clear; printf '\\033[32mgreen\\033[m.\\033[10;20Hmiddle 中文\\033[20;1H'")
        owner.wait_for("middle 中文")
        join = (*guest.command, "join", ticket)
        with Terminal.open(LOCAL, places[1], *join, columns=160, rows=30) as late:
            late.wait_for("middle 中文")
            wait_until(lambda: late.coloured() == owner.coloured(), what="both show the same, colours included")
            owner.type("tput smcup; seq 30; printf 'full screen'")
            late.wait_for("full screen")
            wait_until(lambda: late.coloured() == owner.coloured(), what="on the alternate screen too")


def test_modes_are_restored_for_a_late_joiner(tmp_path: Path) -> None:
    with sharing(tmp_path) as shared:
        owner = shared.owner
        modes = "".join(f"\\033[?{mode}h" for mode in (1, 1002, 1006, 2004))
        owner.type(f"printf '{modes}\\033=\\033[5 q\\033[?25l\\033]2;my title\\007'; read x")
        wait_until(lambda: b"\x1b]2;my title" in owner.output(), what="the modes are set")
        late = shared.join(shared.guest("late"))
        late.wait_for("read x")
        for sequence in (
            b"\x1b[?1h",
            b"\x1b[?1002h",
            b"\x1b[?1006h",
            b"\x1b=",
            b"\x1b[5 q",
            b"\x1b[?25l",
            b"]2;my title",
        ):
            assert sequence in late.output(), sequence
        shared.owner.press(b"\r")


def test_the_size_is_that_of_the_smallest_who_may_type(tmp_path: Path) -> None:
    with sharing(tmp_path, "--users", "2", columns=100, rows=30) as shared:
        owner = shared.owner
        small = shared.join(shared.guest("small"), columns=60, rows=20)
        small.wait_for("ready 42")
        owner.type("stty size")
        owner.wait_for("20 60")
        large = shared.join(shared.guest("large"), columns=120, rows=40)
        large.wait_for("20 60")
        owner.type(f"echo {'x' * 70}")
        for terminal in (owner, small, large):  # the line wraps where the session's terminal ends
            display = terminal.wait_for("x" * 60)
            assert "x" * 61 not in "\n".join(display)
        small.resize(70, 22)
        wait_until(lambda: shared.host.call("session", "who")["size"] == [70, 22], what="the size has changed")
        owner.type("stty size")
        large.wait_for("22 70")
        first, _ = shared.guests()
        shared.host.call("session", "take", first)
        owner.type("clear; stty size")
        for terminal in (owner, large):
            terminal.wait_for("30 100")
        assert shared.host.call("session", "who")["size"] == [100, 30]
        owner.type("echo end of a small one")
        small.wait_for("end of a small one")  # what fits is shown, down to the cursor


def test_the_keyboard_is_granted_and_taken(tmp_path: Path) -> None:
    with sharing(tmp_path) as shared:
        guest = shared.join(shared.guest("guest"))
        guest.wait_for("ready 42")
        guest.type("echo one $((1 + 0))")
        shared.owner.wait_for("one 1")
        (name,) = shared.guests()
        assert shared.host.call("session", "take", name) == {
            "ok": True,
            "session": shared.host.call("session", "list")["sessions"][0]["name"],
            "changed": [name],
            "may_type": False,
        }
        wait_until(lambda: b"may only look" in guest.output(), what="the guest is told")
        guest.type("echo two $((1 + 1))")
        shared.owner.type("echo three $((1 + 2))")
        assert "echo two" not in "\n".join(shared.owner.wait_for("three 3"))
        shared.host.call("session", "grant", "*")
        guest.type("echo four $((2 + 2))")
        shared.owner.wait_for("four 4")


def test_a_guest_who_is_removed_cannot_come_back(tmp_path: Path) -> None:
    with sharing(tmp_path, "--users", "2") as shared:
        machine = shared.guest("guest")
        guest = shared.join(machine)
        guest.wait_for("ready 42")
        (name,) = shared.guests()
        assert shared.host.call("session", "remove", name)["removed"] == [name]
        assert guest.wait_exit() == 255
        guest.wait_for("you were removed")
        failure = machine.failure("join", shared.ticket)
        assert failure["code"] in ("session-unknown", "denied"), failure
        assert shared.guests() == []


def test_revoking_a_guest_removes_it(tmp_path: Path) -> None:
    with sharing(tmp_path) as shared:
        guest = shared.join(shared.guest("guest"))
        guest.wait_for("ready 42")
        (name,) = shared.guests()
        shared.host.call("peer", "revoke", name)
        assert guest.wait_exit() == 255
        wait_until(lambda: not shared.guests(), what="the guest is gone")


def test_a_guest_gets_nothing_but_the_session(tmp_path: Path) -> None:
    with sharing(tmp_path) as shared:
        machine = shared.guest("guest")
        guest = shared.join(machine)
        guest.wait_for("ready 42")
        (host,) = machine.call("peer", "list")["peers"]
        name = host["petname"]
        for command in (
            ("connect", name, "true"),
            ("connect", "--session", "mine", name, "true"),
            ("tunnel", "open", name, "--map", "tcp://127.0.0.1:22=0"),
            ("session", "list", name),
            ("session", "kill", name, "x"),
        ):
            done = machine.run("--json", *command)
            assert done.returncode != 0
            assert json.loads(done.stdout.splitlines()[-1])["error"]["code"] == "denied", command
        (peer,) = shared.host.call("peer", "list")["peers"]
        assert [each.partition(":")[0] for each in peer["capabilities"]] == ["join"]
        shared.owner.type("exit")
        assert guest.wait_exit() == 0


def test_what_a_guest_was_granted_goes_with_the_session(tmp_path: Path) -> None:
    host = Irosh(LOCAL, tmp_path / "host")
    guest = Irosh(LOCAL, tmp_path / "guest")
    with host.host():
        with host.start("share", "--users", "3", "sleep 300") as share:
            shared = share.wait_event("shared")
            with guest.start("join", shared["ticket"]) as joined:
                joined.wait_event("session")
                (peer,) = host.call("peer", "list")["peers"]
                assert [each.partition(":")[0] for each in peer["capabilities"]] == ["join"]
        wait_until(lambda: not host.call("session", "list")["sessions"], what="the session is over")
        (peer,) = host.call("peer", "list")["peers"]
        assert peer["capabilities"] == []
        assert all("join" not in " ".join(each["capabilities"]) for each in host.call("invite", "--list")["invites"])
        assert guest.failure("join", shared["ticket"])["code"] in ("invite-invalid", "denied")


def test_no_more_guests_than_were_invited(tmp_path: Path) -> None:
    with sharing(tmp_path) as shared:
        shared.join(shared.guest("one")).wait_for("ready 42")
        assert shared.guest("two").failure("join", shared.ticket)["code"] == "invite-used"


def test_a_guest_who_floods_the_keyboard_disturbs_nobody(tmp_path: Path) -> None:
    with sharing(tmp_path, "--users", "2") as shared:
        owner = shared.owner
        flooding = shared.join(shared.guest("flooding"))
        flooding.wait_for("ready 42")
        other = shared.join(shared.guest("other"))
        other.wait_for("ready 42")
        owner.type("sleep 1000")  # which reads nothing: the terminal's own queue fills
        owner.wait_for("sleep 1000")
        stop = time.monotonic() + 4
        os.set_blocking(flooding._controller, False)
        while time.monotonic() < stop:
            try:
                os.write(flooding._controller, b"flood " * 600)
            except BlockingIOError:
                time.sleep(0.02)
        owner.press(b"\x03")
        name = shared.guests()[0]
        shared.host.call("session", "take", name)
        owner.press(b"\x03\x15\r")
        owner.type("clear; echo still $((40 + 2)) here")
        owner.wait_for("still 42 here")
        other.wait_for("still 42 here")


@pytest.mark.parametrize("command", ["take", "remove"])
def test_what_a_guest_typed_ahead_is_not_run_later(tmp_path: Path, command: str) -> None:
    with sharing(tmp_path) as shared:
        os.mkfifo(tmp_path / "busy")
        shared.owner.type(f"cd {tmp_path}; clear; echo at work; cat busy")
        shared.owner.wait_for("at work")
        guest = shared.join(shared.guest("guest"))
        guest.wait_for("at work")
        guest.type("touch typed-ahead")
        shared.owner.wait_for("touch typed-ahead")
        shared.host.call("session", command, shared.guests()[0])
        (tmp_path / "busy").write_text("over\n")
        shared.owner.wait_for("over")
        shared.owner.type("echo still $((40 + 2)) here")
        shared.owner.wait_for("still 42 here")
        assert not (tmp_path / "typed-ahead").exists()


def test_a_guest_who_reads_nothing_can_be_removed(tmp_path: Path) -> None:
    with sharing(tmp_path) as shared:
        guest = shared.join(shared.guest("guest"), reads=False)
        wait_until(lambda: len(shared.guests()) == 1, what="the guest is there")
        shared.owner.type(f"cd {tmp_path}; seq 1000000 | tail -c 3000000; echo all $((40 + 2))")
        shared.owner.wait_for("all 42", timeout=60)
        shared.host.call("session", "remove", shared.guests()[0])
        guest.type("touch typed-later")
        wait_until(lambda: not shared.guests(), what="the guest is gone")
        shared.owner.type("echo still $((40 + 2)) here")
        shared.owner.wait_for("still 42 here")
        assert not (tmp_path / "typed-later").exists()
        guest.process.terminate()  # while it waits for its terminal to take something
        assert guest.wait_exit() == 130


def test_a_guest_who_reads_nothing_holds_nobody_up_and_sees_the_end(tmp_path: Path) -> None:
    with sharing(tmp_path, "--users", "2") as shared:
        slow = shared.join(shared.guest("slow"), reads=False)
        wait_until(lambda: len(shared.guests()) == 1, what="the guest is there")
        os.killpg(slow.process.pid, signal.SIGSTOP)
        shared.owner.type("seq 1000000 | tail -c 3000000; echo all $((40 + 2))")
        shared.owner.wait_for("all 42", timeout=60)
        os.killpg(slow.process.pid, signal.SIGCONT)
        slow.read_on()
        slow.wait_for("all 42")
        wait_until(lambda: same_screen(shared.owner, slow), what="the slow one sees the same")
        assert len(slow.output()) < 2_500_000


def test_a_recording_can_be_played(tmp_path: Path) -> None:
    record = tmp_path / "session.cast"
    with sharing(tmp_path, "--record", str(record), columns=80, rows=24) as shared:
        shared.owner.type("echo 中文; echo recorded $((40 + 2))")
        shared.owner.wait_for("recorded 42")
        shared.owner.resize(100, 30)
        shared.owner.type("stty size")
        shared.owner.wait_for("30 100")
        shared.owner.type("exit")
        assert shared.owner.wait_exit() == 0
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    header, *events = [json.loads(line) for line in record.read_text().splitlines()]
    assert (header["version"], header["width"], header["height"]) == (2, 80, 24)
    assert [event[0] for event in events] == sorted(event[0] for event in events)
    assert {event[1] for event in events} == {"o", "r"}
    assert ["r", "100x30"] in [event[1:] for event in events]
    import pyte

    screen = pyte.Screen(80, 24)
    stream = pyte.Stream(screen)
    for _, code, data in events:
        if code == "r":
            columns, rows = map(int, data.split("x"))
            screen.resize(rows, columns)
        else:
            stream.feed(data)
    assert "recorded 42" in "\n".join(screen.display)
    assert "30 100" in "\n".join(screen.display)


def test_a_recording_overwrites_nothing(tmp_path: Path) -> None:
    record = tmp_path / "session.cast"
    record.write_text("precious")
    with Irosh(LOCAL, tmp_path / "host").start("share", "--record", str(record), "true") as process:
        assert process.wait_failure()["code"] == "usage"
    assert record.read_text() == "precious"


def test_at_the_prompt_the_owner_sees_grants_and_removes(tmp_path: Path) -> None:
    with sharing(tmp_path, "--read-only", columns=120) as shared:
        guest = shared.join(shared.guest("guest"), columns=120)
        guest.wait_for("ready 42")
        (name,) = shared.guests()
        owner = shared.owner
        owner.press(b"\r~C")
        owner.wait_for("irosh>")
        owner.type("who")
        assert any(re.match(rf"{name} +guest +looks +120x24", line) for line in owner.wait_for("looks"))
        owner.type(f"grant {name}")
        owner.wait_for(f"{name} may type")
        owner.press(b"\r")
        guest.type("echo typed by the guest $((1 + 1))")
        owner.wait_for("typed by the guest 2")
        wait_until(lambda: same_screen(owner, guest), what="nothing of the prompt is left on the screen")
        owner.press(b"\r~C")
        owner.wait_for("irosh>")
        owner.type("remove nobody")
        owner.wait_for("no guest is called 'nobody'")
        owner.type("remove *")
        assert guest.wait_exit() == 255


def test_only_a_host_shares(tmp_path: Path) -> None:
    host, client = Irosh(LOCAL, tmp_path / "host"), Irosh(LOCAL, tmp_path / "client")
    with host.host() as process:
        ticket = process.events[0]["ticket"]
        with client.start("connect", ticket, "sleep 300") as connected:  # a node that lets nobody in
            connected.wait_event("connected")
            assert client.failure("share", "true")["code"] == "not-running"


def test_from_the_host_itself_any_session_can_be_attached_to(tmp_path: Path) -> None:
    with sharing(tmp_path, "--session", "pair") as shared:
        command = (*shared.host.command, "session", "attach", "pair")
        with CapturedTerminal(command) as other:
            other.wait_for("ready 42")
            other.type("echo from here $((1 + 1))")
            shared.owner.wait_for("from here 2")
            other.press(b"\r~d")
            assert other.wait_exit() == 0
        shared.owner.type("echo still $((40 + 2))")
        shared.owner.wait_for("still 42")
