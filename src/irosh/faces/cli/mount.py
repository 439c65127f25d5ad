"""``irosh mount`` and ``irosh umount``: a directory of a peer on this machine, by the system's sshfs."""

from __future__ import annotations

from pathlib import Path

import click

from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.through_flags import jump_flags, proxy_options


@click.command("mount")
@click.argument("source", metavar="[USER@]PEER:[PATH]")
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--read-only", is_flag=True, help="Let nothing be changed through DIR.")
@click.option("-o", "options", multiple=True, metavar="OPTION", help="A further option of sshfs(1).")
@jump_flags
@common_options
def mount(
    settings: Settings,
    source: str,
    directory: Path,
    read_only: bool,
    options: tuple[str, ...],
    hops: tuple[str, ...],
    accept_new: bool,
) -> None:
    """Have PATH of a peer appear at DIR, an empty directory here. Without PATH: the home, or the tree you may use.

    It stays until `irosh umount DIR`, also while the link is down. It needs sshfs.
    """
    from irosh.faces.cli.sshfs import Mounting, mount_peer

    through = proxy_options(hops, accept_new=accept_new)
    asked = Mounting.parsed(source, directory, read_only=read_only, options=options, through=through)
    peer = mount_peer(settings, asked)
    fields = {"peer": peer, "path": asked.path, "directory": str(asked.directory), "read_only": read_only}
    settings.output.result(
        fields, f"{peer}:{asked.path} is at {asked.directory}; `irosh umount {asked.directory}` ends it"
    )


@click.command("umount")
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--lazy", is_flag=True, help="Although files are in use, or the peer is away.")
@common_options
def umount(settings: Settings, directory: Path, lazy: bool) -> None:
    """End what `irosh mount` began at DIR."""
    from irosh.faces.cli.sshfs import unmount

    ended = unmount(settings, directory, lazy=lazy)
    settings.output.result({"directory": str(ended)}, f"{ended} is unmounted")
