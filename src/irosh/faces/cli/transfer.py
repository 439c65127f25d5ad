"""``irosh put``, ``irosh get``, ``irosh cp``: files to and from peers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.wording import quoted
from irosh.faces.cli.network_flags import MeetingCommand, NetworkFlags, network_flags
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.signals import ended_as_interrupted
from irosh.faces.cli.target import read_target
from irosh.faces.cli.transfer_spec import Location, parse_location, parse_rate

if TYPE_CHECKING:
    from irosh.faces.cli.transfer_progress import TransferProgress
    from irosh.faces.cli.transferring import TransferOptions
    from irosh.services.files.transfer.frames import Result

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Flags:
    """What was given; ``options`` but for the user, who is named with the peer."""

    options: TransferOptions
    quiet: bool
    network: NetworkFlags


def transfer_options(function: F) -> F:
    """Add the options that all of them take; the command gets them as ``flags``."""

    @click.option("-r", "--recursive", is_flag=True, help="Folders too, with all below them.")
    @click.option("-p", "--preserve/--no-preserve", default=True, help="Keep permissions and times (default).")
    @click.option("--links", is_flag=True, help="Keep symbolic links as links; else what they lead to is copied.")
    @click.option(
        "--resume", is_flag=True, help="Go on with what was left, and leave out what hashes show to be there."
    )
    @click.option("--quick", is_flag=True, help="As --resume, but what has the same size and time is left out unread.")
    @click.option("--limit", metavar="RATE", help="At most so many bytes a second: 500k, 2.5M.")
    @click.option("--no-sync", is_flag=True, help="Do not wait until the files are on the disk.")
    @click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
    @click.option("--name", metavar="NAME", help="Petname to remember the peer by (default: its host name).")
    @network_flags(hosting=False)
    @common_options
    @functools.wraps(function)
    def wrapped(settings: Settings, *args: Any, network: NetworkFlags, **given: Any) -> Any:
        from irosh.faces.cli.transferring import TransferOptions

        limit = given.pop("limit")
        options = TransferOptions(
            recursive=given.pop("recursive"),
            preserve=given.pop("preserve"),
            links=given.pop("links"),
            resume=given.pop("resume") or given["quick"],
            quick=given.pop("quick"),
            sync=not given.pop("no_sync"),
            limit=None if limit is None else parse_rate(limit),
            request={**network.request(), "name": given.pop("name")},
            files=network.files(),
            tell_link=True,
        )
        flags = Flags(options, given.pop("quiet"), network)
        return function(settings, *args, flags=flags, **given)

    return wrapped  # type: ignore[return-value]


@click.command(cls=MeetingCommand)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.argument("destination", metavar="[USER@]PEER:PATH")
@transfer_options
def put(settings: Settings, sources: tuple[str, ...], destination: str, flags: Flags) -> int:
    """Copy files from here to a peer.

    An existing folder takes them under their own names; else PATH is the new name of the only one. Paths that do not
    begin with / begin in the home there. Files appear whole or not at all, after their BLAKE3 hashes were compared.
    """
    there = parse_location(destination)
    if there.peer is None:
        raise click.UsageError(f"{quoted(destination)} names no peer: write PEER:PATH, or PEER: for the home there")
    return _run(settings, flags, [Location(source) for source in sources], there)


@click.command(cls=MeetingCommand)
@click.argument("words", nargs=-1, required=True, metavar="[USER@]PEER:SOURCE... [DESTINATION]")
@transfer_options
def get(settings: Settings, words: tuple[str, ...], flags: Flags) -> int:
    """Copy files from a peer to here.

    Without DESTINATION into the working directory. The peer expands *, ? and [...] in SOURCE: quote them. Files appear
    whole or not at all, after their BLAKE3 hashes were compared.
    """
    locations = [parse_location(word) for word in words]
    destination = locations.pop() if locations[-1].peer is None else Location(".")
    if not locations or any(each.peer is None for each in locations):
        raise click.UsageError("the sources are on a peer: write PEER:PATH")
    return _run(settings, flags, locations, destination)


@click.command(cls=MeetingCommand)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.argument("destination", metavar="DESTINATION")
@transfer_options
def cp(settings: Settings, sources: tuple[str, ...], destination: str, flags: Flags) -> int:
    """Copy files to, from or between peers: each of SOURCE and DESTINATION is a path here or [USER@]PEER:PATH.

    What goes from one peer to another goes through this machine, and is kept nowhere on it.
    """
    there = parse_location(destination)
    locations = [parse_location(source) for source in sources]
    if there.peer is None and any(each.peer is None for each in locations):
        raise click.UsageError("neither is on a peer: write PEER:PATH, or use cp(1)")
    return _run(settings, flags, locations, there)


def _run(settings: Settings, flags: Flags, sources: Sequence[Location], destination: Location) -> int:
    from irosh.faces.cli.transfer_progress import TransferProgress

    with ended_as_interrupted(), TransferProgress(settings.output, quiet=flags.quiet) as progress:
        try:
            results = [_copy(settings, flags, group, destination, progress) for group in _by_peer(sources, destination)]
        except KeyboardInterrupt:
            settings.output.event("interrupted", {}, "irosh: interrupted; --resume goes on where it ended")
            raise
    return _finish(settings, progress, results)


def _by_peer(sources: Sequence[Location], destination: Location) -> list[list[Location]]:
    """The sources, those of one peer together."""
    groups: dict[tuple[str | None, str | None], list[Location]] = {}
    for source in sources:
        groups.setdefault((source.peer, source.user), []).append(source)
    if len(groups) > 1 and destination.peer is None:
        from pathlib import Path

        if not Path(destination.path).is_dir():
            raise IroshError(
                ErrorCode.FILE,
                f"{quoted(destination.path)} is no folder, and several things cannot have one name",
                "name a folder that exists",
            )
    return list(groups.values())


def _copy(
    settings: Settings, flags: Flags, sources: Sequence[Location], destination: Location, progress: TransferProgress
) -> Result:
    from irosh.faces.cli import transferring

    paths = [source.path for source in sources]
    peer, user = sources[0].peer, sources[0].user
    if destination.peer is None:
        assert peer is not None
        options = replace(flags.options, user=user)
        target = read_target(peer, flags.network.modes)
        return transferring.get(settings, target, paths, destination.path, options, progress)
    options = replace(flags.options, user=destination.user)
    target = read_target(destination.peer, flags.network.modes)
    if peer is None:
        return transferring.put(settings, target, paths, destination.path, options, progress)
    from irosh.faces.cli.transfer_relaying import relay

    source = read_target(peer, flags.network.modes)
    return relay(settings, (source, user), (target, destination.user), paths, destination.path, options, progress)


def _finish(settings: Settings, progress: TransferProgress, results: Sequence[Result]) -> int:
    from irosh.faces.cli.amounts import size

    files, total = sum(each.files for each in results), sum(each.size for each in results)
    unchanged = sum(each.unchanged for each in results)
    measured, took = progress.summary()
    if progress.problems:
        problems = f"{progress.problems} thing{'s' * (progress.problems != 1)}"
        raise IroshError(
            ErrorCode.TRANSFER_INCOMPLETE,
            f"{problems} could not be copied; {files} file{'s' * (files != 1)} ({size(total)}) were",
            "each is named above; --resume leaves out what has arrived",
        )
    fields = {"files": files, "bytes": total, "unchanged": unchanged, **measured}
    same = f", {unchanged} unchanged" if unchanged else ""
    text = f"{files} file{'s' * (files != 1)}, {size(total)}{same}, {took}"
    if settings.json or not progress.quiet:
        settings.output.result(fields, text)
    return 0
