"""The sandbox holds commands to what a page shows, and leaves nothing running."""

from __future__ import annotations

import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.markdown import parse_page
from tests.docs.sandbox import Sandbox, identity_of
from tests.docs.transcript import Step, steps_of

SERVER = "server$ python3 -m http.server 8000 --bind 127.0.0.1\nServing HTTP on 127.0.0.1 port 8000 ..."
FETCH = "curl() { python3 -c 'import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).status)' \"$1\"; };"


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory with a short path, as control sockets need one."""
    with tempfile.TemporaryDirectory(prefix="irosh-docs-") as path:
        yield Path(path)


def steps(*lines: str) -> list[Step]:
    """The steps of a page with one block."""
    return steps_of(parse_page(Path("page.md"), "\n".join(["```console", *lines, "```"])))


def play(directory: Path, *lines: str) -> None:
    """Play a page with one block."""
    with Sandbox(directory) as sandbox:
        sandbox.play(steps(*lines))


@pytest.mark.parametrize(
    "lines",
    [
        ("laptop$ true",),
        ("laptop$ false", "laptop$ echo $?", "1"),
        ("laptop$ echo out; echo err >&2", "out", "err"),
        ("laptop$ pwd > here", "server$ cmp <(pwd) ../laptop/here", "server$ echo $?", "1"),
        ("laptop$ cat",),
        ("laptop$ irosh identity show", f"id  {identity_of('laptop').id}", "...", "SSH fingerprint  ..."),
        ("laptop$ irosh config path", "/.../laptop/state/config.toml"),
        ("laptop$ python3 -c 'import socket; print(socket.gethostname())'", "laptop"),
    ],
)
def test_what_is_true_passes(directory: Path, lines: tuple[str, ...]) -> None:
    play(directory, *lines)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (("laptop$ false",), "ended with 1"),
        (("laptop$ false", "server$ echo $?", "0"), "ended with 1"),
        (("laptop$ true", "laptop$ echo $?", "1"), "the page shows"),
        (("laptop$ echo a; echo b", "a"), "the page shows"),
        (("laptop$ echo TICKET",), "before a ticket was printed"),
        (("server$ python3 -m http.server 8000",), "show what"),
        (("server$ python3 -m http.server nonsense", "Serving ..."), "it ended with 2"),
    ],
)
def test_what_is_not_true_fails(directory: Path, lines: tuple[str, ...], problem: str) -> None:
    with pytest.raises(AssertionError) as failure:
        play(directory, *lines)
    assert problem in str(failure.value)


def test_a_program_runs_until_the_page_ends(directory: Path) -> None:
    with Sandbox(directory) as sandbox:
        sandbox.play(steps(SERVER, f"laptop$ {FETCH} curl http://127.0.0.1:8000/", "200"))
        sandbox.play(steps("laptop$ echo http://127.0.0.1:8000/ > url"))
        url = (directory / "laptop" / "url").read_text().strip()
        assert ":8000" not in url, "the port is a free one"
        with urllib.request.urlopen(url) as page:
            assert page.status == 200
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url)


OFFER = ["-----BEGIN IROSH OFFER-----", "...", "-----END IROSH OFFER-----"]
HOST = ["server$ irosh host --mode iroh-manual", "...", *OFFER, "", "irosh: paste the other machine's answer here"]


def test_blocks_are_carried_from_one_screen_to_the_other(directory: Path) -> None:
    asked = "irosh: paste the other machine's offer here"
    client = ["laptop$ irosh connect --mode iroh-manual - --name box 'echo met'", asked, *OFFER, "...", "met"]
    play(directory, *HOST, *client)


def test_files_are_carried_where_all_machines_see_them(directory: Path) -> None:
    play(directory, "server$ echo hello > /mnt/shared/file", "laptop$ cat /mnt/shared/file", "hello")


def test_a_program_is_interrupted_where_the_page_says_so(directory: Path) -> None:
    play(directory, SERVER, "^C", "...", "Keyboard interrupt received, exiting.")
    with tempfile.TemporaryDirectory() as other, pytest.raises(AssertionError, match="interrupted"):
        play(Path(other), SERVER, "^C", "good bye")
