"""Running sshfs(1) with ``irosh proxy`` as its way to the peer, and ending it again."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from irosh.core.capability import is_user_name
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.peer import Peer
from irosh.core.private_file import write_private_file
from irosh.core.state import StateDirectory
from irosh.core.wording import escape
from irosh.faces.cli.options import Settings
from irosh.faces.cli.program import own_command
from irosh.faces.cli.ssh_config import host_block, named_peer

DEADLINE = 120.0  # seconds for sshfs to have connected
_SOURCE = re.compile(r"(?:(?P<user>[^@:/]+)@)?(?P<peer>[^@:/]+):(?P<path>.*)", re.DOTALL)
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mounting:
    """What shall be mounted where. ``path`` empty: where the peer's host lets us begin. ``through``: the options of
    `irosh proxy` about the way there.
    """

    user: str | None
    peer: str
    path: str
    directory: Path
    read_only: bool
    options: tuple[str, ...]
    through: Sequence[str]

    @classmethod
    def parsed(
        cls, source: str, directory: Path, *, read_only: bool, options: tuple[str, ...], through: Sequence[str]
    ) -> Mounting:
        """``source`` is ``[USER@]PEER:[PATH]``."""
        found = _SOURCE.fullmatch(source)
        if found is None or not (found["user"] is None or is_user_name(found["user"])):
            raise click.UsageError(f"{escape(source, 80)!r} is not PEER:PATH, like server:/srv/share")
        place = mount_point(directory)
        return cls(found["user"], found["peer"], found["path"], place, read_only, options, through)


def mount_point(directory: Path) -> Path:
    """``directory`` without symbolic links on the way to it. It is not asked itself: its peer may be away."""
    path = Path.cwd() / directory
    if path.name in ("", ".."):
        path = path.resolve()
    return path.parent.resolve() / path.name


def mount_peer(settings: Settings, asked: Mounting) -> str:
    """Mount it; returns the peer's name. ``IroshError``: program-missing, unknown-target, mount-failed."""
    program = shutil.which("sshfs")
    if program is None:
        raise IroshError(ErrorCode.PROGRAM_MISSING, "sshfs is not installed", _how_to_install())
    peer, state = _peer(settings, asked.peer)
    if asked.directory in _mounted():
        raise _failed(f"{asked.directory} is mounted already", f"`irosh umount {asked.directory}` ends that")
    if not asked.directory.is_dir():
        raise _failed(f"{asked.directory} is not a directory", f"mkdir {asked.directory}")
    command = [*own_command(), "--state", str(state.path)]
    configuration = _configuration(state, asked.directory)
    configuration.parent.mkdir(mode=0o700, exist_ok=True)
    write_private_file(configuration, f"{host_block(peer, command, asked.through)}\n    BatchMode yes\n".encode())
    # Without keepalives of SSH: the session waits for the link, and only when it is lost ssh ends and is started again.
    options = ["reconnect", "idmap=user", *(["ro"] if asked.read_only else []), *asked.options]
    user = f"{asked.user}@" if asked.user else ""
    source = f"{user}{peer.petname}:{asked.path}"
    arguments = [program, "-F", str(configuration), "-o", ",".join(options), source, str(asked.directory)]
    ended = _run(arguments)
    if ended.returncode != 0:
        reason = _reason(f"{user}{peer.petname}", configuration) or _last_line(ended.stderr)
        configuration.unlink(missing_ok=True)
        raise _failed(f"cannot mount {source}: {reason}", "")
    return peer.petname


def unmount(settings: Settings, directory: Path, *, lazy: bool) -> Path:
    """End the mount. ``IroshError`` (mount-failed)."""
    place = mount_point(directory)
    if sys.platform == "linux":
        if place not in _mounted():
            raise _failed(f"nothing is mounted at {place} by sshfs", "")
        program = shutil.which("fusermount3") or shutil.which("fusermount") or "fusermount3"
        arguments = [program, "-u", *(["-z"] if lazy else []), str(place)]
    else:
        arguments = ["umount", *(["-f"] if lazy else []), str(place)]
    ended = _run(arguments)
    if ended.returncode != 0:
        reason = _last_line(ended.stderr)
        busy = "busy" in reason
        raise _failed(
            f"{place} is in use" if busy else f"cannot unmount {place}: {reason}",
            "close what is open in it, or leave it to --lazy" if busy else "",
        )
    _configuration(StateDirectory(settings.state_path), place).unlink(missing_ok=True)
    return place


def _peer(settings: Settings, name: str) -> tuple[Peer, StateDirectory]:
    from irosh.core.trust import TrustStore

    state = StateDirectory(settings.state_path).ensure()
    with TrustStore(state.database_path) as trust:
        return named_peer(trust.find(name), name), state


def _configuration(state: StateDirectory, place: Path) -> Path:
    """What ssh is told for the mount at ``place``. It stays there: sshfs starts ssh again when it has to."""
    return state.path / "mounts" / f"{hashlib.sha256(os.fsencode(place)).hexdigest()[:16]}.ssh_config"


def _mounted() -> set[Path]:
    """Where something is mounted by sshfs; on other systems than Linux we do not know."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return set()
    found = set()
    for line in lines:
        fields, _, kind = line.partition(" - ")
        if kind.startswith("fuse.sshfs "):
            # Spaces and the like are written as octal numbers.
            found.add(Path(_OCTAL.sub(lambda octal: chr(int(octal[1], 8)), fields.split(" ")[4])))
    return found


def _reason(destination: str, configuration: Path) -> str:
    """Why there is no SFTP. sshfs drops what ssh says, so it is asked again."""
    ended = _run(["ssh", "-F", str(configuration), "-s", destination, "sftp"])
    lines = ended.stderr.decode(errors="replace").splitlines()
    ours = [line.removeprefix("irosh: ") for line in lines if line.startswith("irosh: ")]
    if ours:
        return escape(ours[0], 300)
    if any("subsystem request failed" in line for line in lines):
        return "the host does not let you use `files`"
    if any("Permission denied" in line for line in lines):  # nobody is asked by what sshfs runs
        return "the host asks for a second factor; give it to a node that runs here first, by `irosh verify`"
    return ""


def _run(arguments: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE, check=False)
    except subprocess.TimeoutExpired:
        raise _failed(f"{Path(arguments[0]).name} does not come to an end", "") from None
    except OSError as error:
        raise _failed(f"cannot run {arguments[0]}: {error.strerror}", "") from None


def _last_line(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    return escape(lines[-1], 300) if lines else "it does not say why"


def _how_to_install() -> str:
    if sys.platform == "darwin":
        return "macFUSE and sshfs are at https://macfuse.github.io"
    return "apt install sshfs, dnf install fuse-sshfs, or pacman -S sshfs"


def _failed(message: str, hint: str) -> IroshError:
    return IroshError(ErrorCode.MOUNT_FAILED, message, hint)
