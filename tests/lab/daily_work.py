"""What runs while something happens to the network: an editor, a download, TCP and UDP connections by tunnels."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.host import Host
from tests.lab.irosh_process import Irosh, Tunnel
from tests.lab.pair import PEER
from tests.lab.processes import wait_until
from tests.lab.requirements import find_program
from tests.lab.servers import tcp_server, udp_server
from tests.lab.terminal import Terminal
from tests.lab.traffic import (
    Download,
    TcpBeats,
    UdpBeats,
    first_after,
    longest_gap,
    patient_echo,
    pattern_hash,
    send_pattern,
    tcp_beats,
    udp_beats,
)

DOWNLOAD = int(os.environ.get("IROSH_SURVIVAL_MIB", "256")) << 20
"""Bytes. It has to be under way while something happens, so it comes at a :data:`PACE` until that is over."""
PACE = DOWNLOAD / 16
"""Bytes a second. Where the link only comes and goes it is not to be over in the moments between."""
RECOVERY = 20.0
"""Seconds that a crowded machine may take. Left alone it is a few."""


@dataclass
class Work:
    """All of it, from ``client`` by one node. ``host`` is where the servers and the editor are."""

    host: Host
    client: Host
    tunnel: Tunnel
    editor: Terminal
    text: Path
    tcp: TcpBeats
    udp: UdpBeats
    download_from: tuple[str, int]
    hurry: threading.Event

    def survives(self, event: Callable[[], float], *, meanwhile: Callable[[], None] = lambda: None) -> float:
        """Have all of it run while ``event`` happens, which returns the moment from which the network works again.

        Returns how many seconds later it did.
        """
        self.editor.type("before")
        self.editor.wait_for("before\n\n")  # the next line is there too
        screen = self.editor.screen()
        download = Download(self.client, self.download_from)
        download.wait_for(DOWNLOAD // 8)
        moment = event()
        assert not download.is_over(), "the download was over before"
        self.hurry.set()
        assert self.editor.screen() == screen, "the screen is not to change while the link is down"
        self.editor.type("meanwhile")
        meanwhile()
        recovery = first_after(self.tcp, moment, timeout=RECOVERY)
        by_datagrams = first_after(self.udp, moment, timeout=RECOVERY)
        self.editor.type("after")
        self._check_editor(screen)
        assert download.result(120) == pattern_hash(DOWNLOAD)
        assert download.ended is not None
        print(
            f"\nback after {recovery:.2f} s, UDP after {by_datagrams:.2f} s; gap {longest_gap(self.tcp):.2f} s; "
            f"{DOWNLOAD >> 20} MiB in {download.ended - download.begun:.1f} s; events "
            f"{[{k: v for k, v in each.items() if k != 'error'} for each in self.events()]}"
        )
        return recovery

    def _check_editor(self, before: str) -> None:
        """Every key once and in its order, and the rest of the screen as it was."""
        self.editor.wait_for("after")
        lines, old = self.editor.screen().splitlines(), before.splitlines()
        typed = [*[line for line in old if line.strip("~ ")][:-1], "meanwhile", "after"]
        assert lines[: len(typed)] == typed, f"{before}\n--- became\n{self.editor.screen()}"
        assert set(lines[len(typed) : -1]) <= {"~", ""}, self.editor.screen()
        assert lines[-1].startswith("-- INSERT --"), self.editor.screen()
        self.editor.press("Escape")
        self.editor.type(":w")
        wait_until(self.text.exists, what="the text is saved")
        wait_until(lambda: self.text.read_text().split() == typed, what=f"the text is {typed}")
        self.editor.press("o")

    def events(self) -> list[dict[str, object]]:
        """What the tunnel has told of the link."""
        return [each for each in self.tunnel.process.events if each.get("event") in ("lost", "retry", "resumed")]

    def wait_lost(self, since: float) -> float:
        """Seconds from ``since`` until the loss is noticed."""
        self.tunnel.process.wait_event("lost", timeout=60)
        return time.monotonic() - since


@contextmanager
def at_work(host: Host, client: Irosh, directory: Path, *options: str) -> Iterator[Work]:
    """For the length of the block: ``client`` knows the host as ``box``."""
    machine = client.machine
    assert isinstance(machine, Host)
    text = directory / "text"
    hurry = threading.Event()
    with ExitStack() as stack:
        with host.inside():
            tcp = stack.enter_context(tcp_server(patient_echo))
            bulk = stack.enter_context(tcp_server(send_pattern(DOWNLOAD, hurry, pace=PACE)))
            udp = stack.enter_context(udp_server(lambda packet, _: packet))
        maps = (f"tcp://127.0.0.1:{tcp}", f"tcp://127.0.0.1:{bulk}", f"udp://127.0.0.1:{udp}")
        tunnel = stack.enter_context(client.tunnel(PEER, *(f"{each}=127.0.0.1:0" for each in maps), options=options))
        command = f"{find_program('vim') or find_program('vi')} -u NONE -N -n {text}"
        shell = (*client.command, "connect", *options, "-t", PEER, command)
        editor = stack.enter_context(Terminal.open(machine, directory, *shell))
        editor.wait_for("~")
        editor.press("i")
        editor.wait_for("INSERT")
        beats = stack.enter_context(tcp_beats(machine, tunnel.address(0)))
        packets = stack.enter_context(udp_beats(machine, tunnel.address(2)))
        yield Work(host, machine, tunnel, editor, text, beats, packets, tunnel.address(1), hurry)
