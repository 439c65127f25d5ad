"""The state database: one SQLite file, ``irosh.db``, shared by several processes, readable by its owner only.

Write-ahead logging lets readers and one writer work at once; others wait for their turn. A commit survives
the process being killed; the last ones may be lost (never torn) when the machine loses power, the price of
not waiting for the disk at each (``synchronous=NORMAL``).

Every failure of SQLite comes out as an :class:`~irosh.core.errors.IroshError` with a hint.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

from irosh.core.errors import ErrorCode, IroshError

BUSY_SECONDS = 5.0
"""How long to wait for another process to finish writing."""

_MODE = 0o600
_LOG_BYTES = 4 * 1024 * 1024  # the write-ahead log is cut back to this after it was copied into the file

Value = str | bytes | int | float | None
Row = tuple[Value, ...]

# One entry per schema version, each some statements. Only ever append: files in the field are at any of them.
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE peers (
            id TEXT PRIMARY KEY,
            petname TEXT NOT NULL UNIQUE COLLATE NOCASE,
            capabilities TEXT NOT NULL,
            origin TEXT NOT NULL,
            revoked INTEGER NOT NULL,
            blocked INTEGER NOT NULL,
            first_seen REAL NOT NULL,
            last_seen REAL,
            expires_at REAL,
            addresses TEXT NOT NULL,
            relays TEXT NOT NULL,
            remote_user TEXT
        ) WITHOUT ROWID""",
        """CREATE TABLE invites (
            id TEXT PRIMARY KEY,
            digest BLOB NOT NULL,
            capabilities TEXT NOT NULL,
            uses INTEGER NOT NULL,
            uses_left INTEGER NOT NULL,
            created_at REAL NOT NULL,
            expires_at REAL NOT NULL
        ) WITHOUT ROWID""",
        # settled: a later decision about the peer has replaced what the invite gave it
        """CREATE TABLE redemptions (
            invite TEXT NOT NULL REFERENCES invites(id) ON DELETE CASCADE,
            peer TEXT NOT NULL,
            settled INTEGER NOT NULL,
            PRIMARY KEY (invite, peer)
        ) WITHOUT ROWID""",
        "CREATE INDEX redemptions_by_peer ON redemptions(peer)",
        """CREATE TABLE audit (
            number INTEGER PRIMARY KEY,
            time REAL NOT NULL,
            event TEXT NOT NULL,
            peer TEXT,
            outcome TEXT NOT NULL,
            detail TEXT NOT NULL
        )""",
        # Each entry is in exactly one of these: they count and prune the two kinds apart.
        "CREATE INDEX audit_refused ON audit(number) WHERE outcome = 'refused'",
        "CREATE INDEX audit_other ON audit(number) WHERE outcome <> 'refused'",
    ),
    (
        "ALTER TABLE peers ADD COLUMN mode TEXT NOT NULL DEFAULT 'iroh-default'",
        "ALTER TABLE peers ADD COLUMN npub TEXT",
        "ALTER TABLE peers ADD COLUMN nostr_relays TEXT NOT NULL DEFAULT ''",
    ),
    # What was measured, a row for each peer and minute (since 1970): whole numbers, which SQLite keeps in as few bytes
    # as they need. Times are in microseconds, but up and down in milliseconds.
    (
        """CREATE TABLE metrics (
            minute INTEGER NOT NULL,
            peer BLOB NOT NULL,
            samples INTEGER NOT NULL,
            relayed INTEGER NOT NULL,
            rtt_samples INTEGER NOT NULL,
            rtt_sum INTEGER NOT NULL,
            rtt_min INTEGER NOT NULL,
            rtt_max INTEGER NOT NULL,
            jitter_sum INTEGER NOT NULL,
            bytes_sent INTEGER NOT NULL,
            bytes_received INTEGER NOT NULL,
            bytes_lost INTEGER NOT NULL,
            path_changes INTEGER NOT NULL,
            reconnects INTEGER NOT NULL,
            up INTEGER NOT NULL,
            down INTEGER NOT NULL,
            PRIMARY KEY (minute, peer)
        ) WITHOUT ROWID""",
    ),
    # Second factors. What an invite requires of whom it lets in is copied to the peer.
    (
        "CREATE TABLE factor_rules (peer TEXT PRIMARY KEY, required TEXT NOT NULL) WITHOUT ROWID",
        """CREATE TABLE factors (
            peer TEXT NOT NULL,
            kind TEXT NOT NULL,
            id TEXT NOT NULL,
            value TEXT NOT NULL,
            conditions TEXT NOT NULL,
            counter INTEGER NOT NULL,
            set_at REAL NOT NULL,
            PRIMARY KEY (peer, kind, id)
        ) WITHOUT ROWID""",
        """CREATE TABLE factor_failures (
            peer TEXT PRIMARY KEY,
            failures INTEGER NOT NULL,
            last REAL NOT NULL
        ) WITHOUT ROWID""",
        "ALTER TABLE invites ADD COLUMN factors TEXT NOT NULL DEFAULT ''",
    ),
    (
        """CREATE TABLE authorities (
            fingerprint TEXT PRIMARY KEY,
            line TEXT NOT NULL,
            comment TEXT NOT NULL,
            principals TEXT,
            capabilities TEXT NOT NULL,
            added_at REAL NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE revoked_certificates (
            authority TEXT NOT NULL,
            kind TEXT NOT NULL,
            value TEXT NOT NULL,
            revoked_at REAL NOT NULL,
            PRIMARY KEY (authority, kind, value)
        ) WITHOUT ROWID""",
    ),
    # What gateways showed: machines that have an ordinary SSH server only. Forgotten with the gateway.
    (
        """CREATE TABLE gateways (
            peer TEXT PRIMARY KEY REFERENCES peers(id) ON DELETE CASCADE,
            digest BLOB NOT NULL,
            shown_at REAL NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE machines (
            gateway TEXT NOT NULL REFERENCES gateways(peer) ON DELETE CASCADE,
            name TEXT NOT NULL COLLATE NOCASE,
            url TEXT NOT NULL,
            PRIMARY KEY (name, gateway)
        ) WITHOUT ROWID""",
        "CREATE INDEX machines_by_gateway ON machines(gateway)",
    ),
    ("ALTER TABLE peers ADD COLUMN forward_agent TEXT NOT NULL DEFAULT 'no'",),
)
SCHEMA_VERSION = len(_MIGRATIONS)


class Database:
    """One connection to the state database. For the thread that made it; other processes may have theirs.

    Raises ``IroshError``: ``DISK_FULL``; ``STATE_IN_USE`` when another process keeps it locked for longer
    than ``BUSY_SECONDS``; ``STATE_UNUSABLE`` for the rest (unwritable, damaged, made by a newer version).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._failures():
            _make_private(path)
            self._connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            self._set_up()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the connection. Closing twice is harmless."""
        with self._failures():
            self._connection.close()

    def query(self, statement: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """All rows that ``statement`` gives."""
        with self._failures():
            return self._connection.execute(statement, parameters).fetchall()

    def execute(self, statement: str, parameters: Sequence[Value] = ()) -> int:
        """Run one statement, in its own transaction unless one is open; returns how many rows it changed."""
        with self._failures():
            return self._connection.execute(statement, parameters).rowcount

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is done inside happens or nothing does, and no other process writes in between."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            # A full disk makes SQLite roll back by itself.
            if self._connection.in_transaction:
                self.execute("ROLLBACK")
            raise

    def _set_up(self) -> None:
        self._use_write_ahead_log()
        for pragma in ("synchronous = NORMAL", "foreign_keys = ON", f"journal_size_limit = {_LOG_BYTES}"):
            self.execute(f"PRAGMA {pragma}")
        if self._version() != SCHEMA_VERSION:
            with self.transaction():
                self._migrate()

    def _use_write_ahead_log(self) -> None:
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self.execute("PRAGMA journal_mode = WAL")
                return
            except IroshError as error:
                # SQLite does not itself wait when two processes switch a new file at the same time.
                if error.code != ErrorCode.STATE_IN_USE or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _version(self) -> int:
        version = self.query("PRAGMA user_version")[0][0]
        assert isinstance(version, int)
        return version

    def _migrate(self) -> None:
        version = self._version()  # again, inside the transaction: another process may have been faster
        if version > SCHEMA_VERSION:
            raise IroshError(
                ErrorCode.STATE_UNUSABLE,
                f"{self._path} is of a newer irosh (schema {version}, this one knows {SCHEMA_VERSION})",
                "upgrade irosh, or use another directory with --state DIR",
            )
        for statements in _MIGRATIONS[version:]:
            for statement in statements:
                self.execute(statement)
        self.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _failures(self) -> _Failures:
        return _Failures(self._path)


class _Failures:
    """Turns what SQLite and the file system raise into ``IroshError``."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A ProgrammingError (closed, wrong thread) is a mistake in our own code and stays visible as one.
        if isinstance(error, sqlite3.Error | OSError) and not isinstance(error, sqlite3.ProgrammingError):
            raise _as_irosh_error(self._path, error) from error


def _as_irosh_error(path: Path, error: sqlite3.Error | OSError) -> IroshError:
    name = getattr(error, "sqlite_errorname", "")
    failed = f"cannot use the state database {path}: {error}"
    if name == "SQLITE_FULL" or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)):
        return IroshError(ErrorCode.DISK_FULL, failed, "free some space there, then try again")
    if name.startswith("SQLITE_IOERR") and _no_space(path):
        return IroshError(ErrorCode.DISK_FULL, f"{failed}: the disk is full", "free some space there, then try again")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return IroshError(ErrorCode.STATE_IN_USE, failed, "another process keeps it locked; look for one that hangs")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        hint = "move the file away; peers must then be invited again, the identity is kept"
    elif name.startswith("SQLITE_IOERR"):
        hint = "the disk or a file size limit (ulimit -f) refuses to store more; check both"
    else:
        hint = "check that the directory exists and is yours to write, or choose another with --state DIR"
    return IroshError(ErrorCode.STATE_UNUSABLE, failed, hint)


def _no_space(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < 64 * 1024
    except OSError:
        return False


def _make_private(path: Path) -> None:
    """Make sure that ``path`` exists with mode 0600. SQLite gives its companion files the mode of the file.

    An existing file is not opened for this: closing it again would drop the locks that SQLite may hold on it
    elsewhere in this process (POSIX locks belong to the process, not to the descriptor).
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, _MODE))
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            path.chmod(_MODE)
