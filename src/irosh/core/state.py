"""The state directory: where it is, what is in it, and whether it is safe to use.

::

    identity.key   the identity, an OpenSSH private key (see irosh.core.identity)
    config.toml    what a person edits
    irosh.db       what changes under concurrency, SQLite
    node.lock      held by the one process that is the node (see irosh.core.node_lock)
    control.sock   the node's control socket, unless its path would be too long
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from irosh.core.errors import ErrorCode, IroshError

if TYPE_CHECKING:
    from irosh.core.node_lock import NodeLock

ENVIRONMENT_VARIABLE = "IROSH_STATE"

_DIRECTORY_MODE = 0o700
# sun_path has 104 bytes on macOS and the BSDs and 108 on Linux, with the final NUL. One limit for all, so
# that the answer does not depend on who asks.
_MAX_SOCKET_PATH = 103
# Not TMPDIR or XDG_RUNTIME_DIR: a node started by a service manager and a command typed in a login session
# see different values, and would look for the socket in different places.
_SHORT_SOCKET_BASE = Path("/tmp")  # noqa: S108 - the directory made in it is private, and checked


@dataclass(frozen=True)
class StateDirectory:
    """The layout of the state directory at ``path``, which is made absolute. Touches no file by itself."""

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path).absolute())

    @property
    def identity_path(self) -> Path:
        """The identity's key file."""
        return self.path / "identity.key"

    @property
    def config_path(self) -> Path:
        """The configuration file."""
        return self.path / "config.toml"

    @property
    def certificate_path(self) -> Path:
        """The SSH certificate of the identity, if it has one."""
        return self.path / "identity-cert.pub"

    @property
    def database_path(self) -> Path:
        """The SQLite database."""
        return self.path / "irosh.db"

    @property
    def prompt_history_path(self) -> Path:
        """What was typed at the prompt of ``~C``."""
        return self.path / "prompt-history"

    @property
    def lock_path(self) -> Path:
        """The node's lock file."""
        return self.path / "node.lock"

    @property
    def control_socket_path(self) -> Path:
        """The node's control socket: see the function of this name."""
        return control_socket_path(self.path)

    def lock(self) -> NodeLock:
        """The lock that its node holds, not yet acquired."""
        from irosh.core.node_lock import NodeLock

        return NodeLock(self.lock_path)

    def holder(self) -> int | None:
        """The process id of this directory's live node, or None: see :func:`irosh.core.node_lock.holder`."""
        from irosh.core.node_lock import holder

        return holder(self.lock_path)

    def ensure(self) -> StateDirectory:
        """Make the directory and its missing parents, with mode 0700, and check that it is safe and usable.

        As with OpenSSH's ``~/.ssh``, others may be able to list it, for each file in it is private by itself,
        but nobody else may be able to put or replace files there.

        Raises:
            IroshError: ``STATE_UNUSABLE`` or ``DISK_FULL``.
        """
        try:
            _make_directories(self.path)
            status = self.path.stat()
        except OSError as error:
            from irosh.core.private_file import file_error

            raise file_error("use the state directory", self.path, error) from error
        problem = _directory_problem(self.path, status)
        if problem is not None:
            reason, hint = problem
            message = f"cannot use the state directory {self.path}: {reason}"
            raise IroshError(ErrorCode.STATE_UNUSABLE, message, hint)
        return self


def default_state_directory() -> Path:
    """``$IROSH_STATE``, else ``~/Library/Application Support/irosh`` on macOS and ``$XDG_STATE_HOME/irosh``
    elsewhere (by default ``~/.local/state/irosh``, XDG Base Directory Specification).

    Raises:
        IroshError: ``STATE_UNUSABLE`` if there is no home directory to put it in.
    """
    chosen = os.environ.get(ENVIRONMENT_VARIABLE, "")
    try:
        if chosen:
            return Path(chosen).expanduser().absolute()
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Application Support" / "irosh"
        base = os.environ.get("XDG_STATE_HOME", "")
        # The specification says that a relative path in it is to be ignored.
        return (Path(base) if base.startswith("/") else Path.home() / ".local" / "state") / "irosh"
    except RuntimeError:
        raise IroshError(
            ErrorCode.STATE_UNUSABLE,
            "there is no home directory to keep the state in",
            f"name a directory with --state DIR or {ENVIRONMENT_VARIABLE}",
        ) from None


def control_socket_path(state: Path) -> Path:
    """Where the node of the directory ``state`` listens for commands; the same for node and commands.

    ``<state>/control.sock``, symbolic links resolved. Where that exceeds what a Unix socket address can hold:
    ``/tmp/irosh-<uid>/<16 hex digits>.sock``, in a directory that is this user's alone, made here if need be.

    Raises:
        IroshError: ``STATE_UNUSABLE`` if that directory cannot be made, or someone else made it.
    """
    try:
        real = state.resolve()
    except (OSError, RuntimeError) as error:  # a loop of symbolic links
        raise IroshError(ErrorCode.STATE_UNUSABLE, f"cannot resolve {state}: {error}") from error
    direct = real / "control.sock"
    if len(os.fsencode(direct)) <= _MAX_SOCKET_PATH:
        return direct

    import hashlib

    return _short_socket_directory() / f"{hashlib.sha256(os.fsencode(real)).hexdigest()[:16]}.sock"


def _short_socket_directory() -> Path:
    user = os.geteuid()
    directory = _SHORT_SOCKET_BASE / f"irosh-{user}"
    hint = "choose a state directory with a shorter path with --state DIR"
    try:
        with suppress(FileExistsError):
            directory.mkdir(_DIRECTORY_MODE)
        status = directory.lstat()  # not stat: a symbolic link is somebody's trick
    except OSError as error:
        from irosh.core.private_file import file_error

        failure = file_error("make a place for the control socket at", directory, error)
        raise IroshError(failure.code, failure.message, hint) from error
    private = stat.S_ISDIR(status.st_mode) and status.st_uid == user and not status.st_mode & 0o077
    if not private:
        raise IroshError(
            ErrorCode.STATE_UNUSABLE,
            f"{directory} is not a private directory of this user, so no control socket can be in it",
            f"remove it, or {hint}",
        )
    return directory


def _make_directories(path: Path) -> None:
    missing = []
    while not os.path.lexists(path):
        missing.append(path)
        path = path.parent
    for directory in reversed(missing):
        with suppress(FileExistsError):  # another process was faster; the result is checked in any case
            directory.mkdir(_DIRECTORY_MODE)


def _directory_problem(path: Path, status: os.stat_result) -> tuple[str, str] | None:
    """What is wrong with the directory at ``path`` and what to do about it, or None."""
    import shlex

    elsewhere = "choose another directory with --state DIR"
    user = os.geteuid()
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISDIR(status.st_mode):
        return "it is not a directory", elsewhere
    if user not in (0, status.st_uid) and status.st_uid != 0:
        return f"it belongs to another user (uid {status.st_uid})", elsewhere
    if mode & 0o022:
        return f"other users can write to it (mode {mode:04o})", f"chmod 700 {shlex.quote(str(path))}"
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        if os.statvfs(path).f_flag & os.ST_RDONLY:
            return "it is on a read-only file system", elsewhere
        return "this user cannot write to it", f"check who owns it, or {elsewhere}"
    return None
