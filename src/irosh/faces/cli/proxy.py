"""``irosh proxy``: the SSH stream to a peer on standard input and output, for other SSH programs."""

from __future__ import annotations

import os
import select
import socket
from contextlib import suppress

import click

from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.running import control_client
from irosh.faces.cli.signals import ended_as_interrupted
from irosh.faces.cli.target import read_target

_CHUNK = 256 * 1024


@click.command()
@click.argument("target")
@common_options
def proxy(settings: Settings, target: str) -> None:
    """Carry SSH between standard input and output and a peer.

    For use by other programs: ssh -o ProxyCommand='irosh proxy %h' PEER. `irosh ssh-config` prints what makes
    plain `ssh PEER` work.
    """
    # ssh(1) ends its ProxyCommand by SIGHUP, and shows what is written to stderr: nothing.
    with suppress(KeyboardInterrupt), ended_as_interrupted(), control_client(settings, settings.output) as client:
        client.switch("proxy", {"target": read_target(target)})
        _carry(client.socket)


def _carry(sock: socket.socket) -> None:
    """Copy both ways until the peer ends; end of input is passed on as a half-close."""
    reading = [0, sock.fileno()]
    while sock.fileno() in reading:
        ready, _, _ = select.select(reading, [], [])
        if 0 in ready:
            if data := os.read(0, _CHUNK):
                sock.sendall(data)
            else:
                sock.shutdown(socket.SHUT_WR)
                reading.remove(0)
        if sock.fileno() in ready:
            data = sock.recv(_CHUNK)
            if not data:
                return
            view = memoryview(data)
            while view:
                view = view[os.write(1, view) :]
