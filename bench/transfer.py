"""Files: ``irosh put`` and ``get`` against scp, sftp and rsync, one large file and many small ones."""

from __future__ import annotations

import contextlib
import filecmp
import os
import random
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.measuring import BenchError, Contender, Effort, Figures, interleaved
from bench.nodes import PETNAME, client_state, irosh_host, pin
from bench.openssh import OpenSSH, openssh
from bench.places import Place, rate_limited, scratch, two_namespaces
from bench.programs import IROSH, find_program
from bench.programs import run as run_program
from bench.results import SUBJECT, Aim, Measurement
from bench.usage import cpu_seconds

TITLE = "files on a veth pair (MTU 1500), in memory at both ends: irosh put and get against scp, sftp and rsync"
_SSH_PORT = 2222
_LARGE, _MANY = "large", "many"
_SCP, _SFTP, _RSYNC = "scp", "sftp", "rsync"
_DEADLINE = 600.0


def run(effort: Effort) -> list[Measurement]:
    """Copy up and down by all of them in turn. Every copy is compared with its source."""
    for program, package in ((_SCP, "openssh-client"), (_SFTP, "openssh-client"), (_RSYNC, "rsync")):
        find_program(program, package)
    with contextlib.ExitStack() as stack:
        # In memory: what is compared is the programs, not the disk.
        files = stack.enter_context(scratch(_memory()))
        directory = stack.enter_context(scratch())
        size, count = effort.pick(1_000_000_000, 1_000_000), effort.pick(10_000, 50)
        _make_large(files / _LARGE, size)
        _make_many(files / _MANY, count)
        near, far = stack.enter_context(two_namespaces())
        server = stack.enter_context(openssh(far, _SSH_PORT, directory))
        host = stack.enter_context(irosh_host(far, directory / "host"))
        state = client_state(directory / "client")
        pin(near, state, host.ticket)
        ways = _ways(server, directory, state)
        pids = {name: [host.program.pid if name == SUBJECT else server.server.pid] for name in ways}

        def copies(*whats: str) -> dict[str, dict[str, list[float]]]:
            contenders = {name: _contender(near, files, whats, way, pids[name]) for name, way in ways.items()}
            return interleaved(contenders, effort.repeats)

        results = copies(_LARGE, _MANY)
        with rate_limited((near, far), "1gbit"):
            limited = copies(_LARGE)
    return [*_measurements(results, size, count), *_limited_measurements(limited, size)]


def _measurements(results: dict[str, dict[str, list[float]]], size: int, count: int) -> list[Measurement]:
    megabytes, files = f"{size / 1e6:.0f} MB", f"{count} files of up to 8 kB"
    measurements = []
    for what, where in ((_LARGE, megabytes), (_MANY, files)):
        for way in ("up", "down"):
            values = results[f"{what} {way}"]
            measurements.append(
                Measurement(f"{where}, {way}", "s", "less", values, aim=Aim(1.0, _SCP if what == _LARGE else _RSYNC))
            )
        measurements.append(Measurement(f"{where}, CPU up, both ends", "s", "less", results[f"{what} cpu up"]))
        measurements.append(Measurement(f"{where}, CPU down, both ends", "s", "less", results[f"{what} cpu down"]))
    return measurements


def _limited_measurements(results: dict[str, dict[str, list[float]]], size: int) -> list[Measurement]:
    what = f"{size / 1e6:.0f} MB at 1 Gbit/s"
    return [
        Measurement(f"{what}, {way}", "s", "less", results[f"{_LARGE} {way}"], aim=Aim(1.1, _SCP))
        for way in ("up", "down")
    ]


Way = Callable[[str, Path, Path], list[str]]
"""The command that copies a file or folder ``up`` or ``down``, from a path to one that does not exist."""


def _ways(server: OpenSSH, directory: Path, state: Path) -> dict[str, Way]:
    config = ["-F", str(directory / "ssh_config")]
    ssh = shlex.join(server.client)

    def scp(direction: str, source: Path, target: Path) -> list[str]:
        ends = [str(source), f"host:{target}"] if direction == "up" else [f"host:{source}", str(target)]
        return [_SCP, "-q", "-r", "-p", *config, *ends]

    def sftp(direction: str, source: Path, target: Path) -> list[str]:
        verb = "put" if direction == "up" else "get"
        batch = (
            f"echo {shlex.quote(f'{verb} -r -p {source} {target}')} | {shlex.join([_SFTP, '-q', *config])} -b - host"
        )
        return ["sh", "-c", f"{batch} >/dev/null"]

    def rsync(direction: str, source: Path, target: Path) -> list[str]:
        slash = "/" if source.is_dir() else ""
        ends = [f"{source}{slash}", f"host:{target}"] if direction == "up" else [f"host:{source}{slash}", str(target)]
        return [_RSYNC, "-a", "-W", "-e", ssh, *ends]

    def irosh(direction: str, source: Path, target: Path) -> list[str]:
        command = [IROSH, "--state", str(state), "put" if direction == "up" else "get", "-q", "-r"]
        there = PETNAME + ":"
        ends = [str(source), f"{there}{target}"] if direction == "up" else [f"{there}{source}", str(target)]
        return [*command, *ends]

    return {SUBJECT: irosh, _SCP: scp, _SFTP: sftp, _RSYNC: rsync}


def _contender(place: Place, files: Path, whats: Sequence[str], way: Way, servers: Sequence[int]) -> Contender:
    def measure() -> Figures:
        figures: dict[str, float] = {}
        for what in whats:
            for direction in ("up", "down"):
                target = files / "copy"
                with _removed(target):
                    if what == _MANY and way.__name__ == "sftp":
                        target.mkdir()  # sftp copies into a folder that is there
                    used = cpu_seconds(servers), _children()
                    begun = time.perf_counter()
                    run_program(place.command(*way(direction, files / what, target)), deadline=_DEADLINE)
                    figures[f"{what} {direction}"] = time.perf_counter() - begun
                    figures[f"{what} cpu {direction}"] = cpu_seconds(servers) - used[0] + _children() - used[1]
                    _compare(files / what, target)
        return figures

    return measure


@contextlib.contextmanager
def _removed(path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _compare(source: Path, copy: Path) -> None:
    if source.is_file():
        same = filecmp.cmp(source, copy, shallow=False)
    else:
        inner = copy / source.name if (copy / source.name).is_dir() else copy
        names = [str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()]
        same = not any(filecmp.cmpfiles(source, inner, names, shallow=False)[1:])
    if not same:
        raise BenchError(f"{copy} is not as {source}")


def _children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _memory() -> Path | None:
    memory = Path("/dev/shm")
    return memory if memory.is_dir() else None


def _make_large(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for begin in range(0, size, 1 << 20):
            file.write(os.urandom(min(1 << 20, size - begin)))


def _make_many(root: Path, count: int) -> None:
    """A hundred in each folder, of 0 to 8 kB, the same in every run."""
    chance = random.Random(4)
    for number in range(count):
        folder = root / f"{number // 100:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:05d}").write_bytes(chance.randbytes(chance.randrange(8192)))
