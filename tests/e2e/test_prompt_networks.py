"""The prompt inside a session, ``~C``, where the network is slow or silent."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.prompts import ask, open_prompt
from tests.e2e.shells import shell
from tests.lab.pair import Pair
from tests.lab.processes import wait_until
from tests.lab.requirements import requires, requires_netns, requires_shaping
from tests.lab.routed import routed
from tests.lab.servers import unused_port

pytestmark = [pytest.mark.netns, requires("tmux"), requires_netns()]


@contextmanager
def slow_pair(directory: Path) -> Iterator[Pair]:
    """Host and client with a link of 6 Mbit/s between them."""
    with routed(directory) as (pair, place):
        place.client_link.shape(rate="6mbit")
        yield pair


@requires_shaping()
def test_a_transfer_goes_on_beside_the_shell_and_is_waited_for(tmp_path: Path) -> None:
    with slow_pair(tmp_path) as pair:
        source, target = tmp_path / "big.bin", tmp_path / "arrived.bin"
        data = os.urandom(4_000_000)  # some 6 s by this link
        source.write_bytes(data)
        with shell(pair, tmp_path, columns=150) as terminal:
            open_prompt(terminal)
            ask(terminal, f"put {source} {target}", "[1] put ", "% of 4.0 MB")
            screen = ask(terminal, "status", "transfers:")
            assert re.search(r"\n  \[1\] put big.bin +\d", screen)
            terminal.press("C-d")
            terminal.type("echo shell $((6 * 7))")
            terminal.wait_for("shell 42")
            assert not target.exists()
            terminal.type("exit 3")
            terminal.wait_for("waiting for transfers and forwarded connections to end")
            assert terminal.wait_exit() == 3
            assert "[1] put " in terminal.screen()
        assert target.read_bytes() == data


@requires_shaping()
def test_a_transfer_is_cancelled(tmp_path: Path) -> None:
    with slow_pair(tmp_path) as pair:
        source, target = tmp_path / "big.bin", tmp_path / "arrived.bin"
        source.write_bytes(os.urandom(40_000_000))
        with shell(pair, tmp_path, columns=150) as terminal:
            open_prompt(terminal)
            ask(terminal, f"put {source} {target}", "[1] put big.bin  ", "% of 40 MB")
            ask(terminal, "cancel 1", ": cancelled")
            ask(terminal, "status", "loss")
            assert "transfers:" not in terminal.screen()
            ask(terminal, "cancel 1", "there is no transfer 1")
            terminal.press("C-d")
            terminal.type("exit 4")
            assert terminal.wait_exit() == 4
        assert not target.exists()


def test_the_prompt_is_of_use_while_the_host_does_not_answer(tmp_path: Path) -> None:
    with routed(tmp_path) as (pair, place), shell(pair, tmp_path, columns=150) as terminal:
        silence = place.router.drop_udp(place.host, place.client)
        open_prompt(terminal)
        terminal.type(f"-R{unused_port()}:127.0.0.1:1")
        wait_until(terminal.takes_signals, what="the command runs")
        terminal.press("C-c")
        terminal.wait_for("It goes on in the background")
        ask(terminal, "lpwd", os.getcwd())
        silence.lift()
        terminal.wait_for("Forwarding: listens there on")
        place.router.drop_udp(place.host, place.client)
        terminal.type("-R0:127.0.0.1:1")
        wait_until(terminal.takes_signals, what="the command runs")
        terminal.press("C-c")
        wait_until(lambda: terminal.screen().count("It goes on in the background") == 2, what="the prompt is back")
        terminal.press("C-d")
        began = time.monotonic()
        terminal.press("Enter", "~", ".")
        assert terminal.wait_exit() == 255
        assert time.monotonic() - began < 5
