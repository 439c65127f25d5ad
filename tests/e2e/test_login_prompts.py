"""What ordinary SSH servers on the way ask a person at a terminal: for passphrases of key files and for passwords."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.captured import CapturedTerminal
from tests.lab.irosh_process import Irosh
from tests.lab.machine import LOCAL
from tests.lab.processes import wait_until
from tests.lab.requirements import requires
from tests.lab.servers import unused_port
from tests.lab.sshd import Sshd, new_key, sshd

pytestmark = requires("ssh", "sshd", "ssh-keygen", "openssl", "unshare")

PASSPHRASE, PASSWORD = "open sesame", "let root in"


@dataclass(frozen=True)
class Lab:
    """A client with a key file that has a passphrase, a server that takes the key, and one that takes a password."""

    client: Irosh
    key: Path
    by_key: Sshd
    by_password: Sshd

    def connect(self, server: Sshd, *options: str, known: bool = True) -> CapturedTerminal:
        """``irosh connect`` to it with a command, on a terminal. ``known``: the servers' host keys are."""
        lines = [each.known_hosts_line for each in (self.by_key, self.by_password)] if known else []
        (self.key.parent / "known_hosts").write_text("".join(lines))
        target = server.url.replace("//", "//root@")
        command = (*self.client.command, "connect", "-t", *options, target, "echo in $((6 * 7)); exit 3")
        return CapturedTerminal(command, columns=200, environment=self.client.environment)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("lab")
    home = directory / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    key = new_key(home / ".ssh" / "id_ed25519", passphrase=PASSPHRASE)
    client = Irosh(LOCAL, directory / "client", environment={"HOME": str(home), "SSH_AUTH_SOCK": ""})
    with ExitStack() as stack:
        by_key = stack.enter_context(sshd(directory / "one", LOCAL, unused_port()))
        by_key.authorize(key.with_suffix(".pub").read_text())
        by_password = stack.enter_context(sshd(directory / "two", LOCAL, unused_port(), password=PASSWORD))
        yield Lab(client, key, by_key, by_password)


def answer(terminal: CapturedTerminal, question: str, text: str, *, times: int = 1) -> None:
    """Type ``text`` once ``question`` has been asked so often, and is asked now."""

    def is_asked() -> bool:
        said = terminal.output().decode(errors="replace")
        return said.count(question) == times and said.rstrip().endswith(question)

    wait_until(is_asked, what=f"{question!r} is asked")
    terminal.type(text)


def test_a_hop_that_takes_a_password_and_a_target_that_takes_a_key(lab: Lab) -> None:
    passphrase = f"Passphrase for {lab.key}:"
    password = f"Password of root at {lab.by_password.address}:"
    nevertheless = "(yes/no/[fingerprint])?"
    with lab.connect(lab.by_key, "-J", lab.by_password.url.replace("//", "//root@"), known=False) as terminal:
        answer(terminal, nevertheless, "yes")
        answer(terminal, passphrase, "not this")
        answer(terminal, f"That was not it. {passphrase}", PASSPHRASE)  # and the hop does not take the key
        answer(terminal, password, "nor this")
        answer(terminal, f"Permission denied, please try again.\r\n{password}", PASSWORD)
        answer(terminal, nevertheless, "yes", times=2)
        answer(terminal, passphrase, PASSPHRASE, times=3)
        terminal.wait_for("in 42")
        assert terminal.wait_exit() == 3
        said = terminal.output().decode()
        kept = (lab.key.parent / "known_hosts").read_text()
        assert kept == lab.by_password.known_hosts_line + lab.by_key.known_hosts_line
        assert PASSPHRASE not in said and PASSWORD not in said and "not this" not in said


def test_who_gives_no_answer_gets_the_next_question_on_a_line_of_its_own(lab: Lab) -> None:
    password = f"Password of root at {lab.by_password.address}:"
    with lab.connect(lab.by_password) as terminal:
        terminal.wait_for("Passphrase for")
        terminal.press(b"\x04")
        terminal.wait_for(password)
        assert password in terminal.display()
        terminal.press(b"\x04")
        assert terminal.wait_exit() == 255
        assert "irosh: 127.0.0.1 refused the login of root" in terminal.wait_for("refused")


def test_ctrl_c_leaves_the_terminal_as_it_was(lab: Lab) -> None:
    with lab.connect(lab.by_key) as terminal:
        terminal.wait_for("Passphrase for")
        assert not terminal.echoes()
        terminal.press(b"\x03")
        assert terminal.wait_exit() == 130
        assert terminal.echoes()
