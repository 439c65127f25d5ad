"""The trust store: who is known, and what was decided about them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core import database
from irosh.core.capability import parse_capabilities
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.trust import Peer, TrustStore, petname_from_hostname, valid_petname

ALICE = "a1" * 32
BOB = "b0" * 32
CAROL = "ca" * 32

SHELL = parse_capabilities(["shell"])
FILES = parse_capabilities(["files"])


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[TrustStore]:
    with TrustStore(tmp_path / "irosh.db", clock=clock) as opened:
        yield opened


@contextlib.contextmanager
def fails(code: ErrorCode, part: str = "") -> Iterator[None]:
    with pytest.raises(IroshError) as caught:
        yield
    assert caught.value.code == code
    assert part in str(caught.value)


def test_an_unknown_identity_is_nobody(store: TrustStore) -> None:
    assert store.get(ALICE) is None
    assert store.active(ALICE) is None
    assert store.standing(ALICE) == "unknown"
    assert store.standing("no id at all") == "unknown"
    assert store.peers() == []


def test_a_pinned_peer_is_remembered_by_the_next_process(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "irosh.db"
    granted = parse_capabilities(["shell", "forward:tcp://[::1]:*", "forward:unix:///run/a b/*.sock"])
    with TrustStore(path, clock=clock) as store:
        pinned = store.pin(ALICE, petname="laptop", origin="invite", capabilities=granted, expires_at=2e6)
    with TrustStore(path, clock=clock) as store:
        assert store.get(ALICE) == pinned
        assert store.active(ALICE) == pinned
    assert pinned == Peer(
        id=ALICE,
        petname="laptop",
        capabilities=granted,
        origin="invite",
        status="active",
        first_seen=clock.now,
        last_seen=None,
        expires_at=2e6,
        addresses=(),
        relays=(),
        remote_user=None,
    )
    assert pinned.to_dict()["capabilities"] == [str(capability) for capability in granted]


def test_peers_are_found_by_name_and_by_id(store: TrustStore) -> None:
    store.pin(ALICE, petname="Laptop", origin="manual")
    twin = ALICE[:20] + "f" * 44
    store.pin(twin, petname="twin", origin="manual")
    assert store.find("laptop") == store.get(ALICE)
    assert store.find(ALICE) == store.get(ALICE)
    assert store.find(ALICE.upper()) == store.get(ALICE)
    assert store.find(ALICE[:21]) == store.get(ALICE)
    assert store.find(twin[:21]) == store.get(twin)
    assert store.find(ALICE[:20]) is None, "two peers begin like this"
    assert store.find(ALICE[:7]) is None, "too short"
    assert store.find("%") is None
    assert store.find("") is None
    assert store.find("la\0ptop") is None
    assert [peer.petname for peer in store.peers()] == ["Laptop", "twin"]


def test_a_petname_has_one_owner(store: TrustStore) -> None:
    store.pin(ALICE, petname="home", origin="ticket")
    with fails(ErrorCode.NAME_TAKEN, ALICE):
        store.pin(BOB, petname="HOME", origin="ticket")
    assert store.get(BOB) is None
    store.pin(BOB, petname="work", origin="ticket")
    with fails(ErrorCode.NAME_TAKEN):
        store.rename(BOB, "Home")
    assert store.rename(ALICE, "Home").petname == "Home"
    assert store.rename(ALICE, "cabin").petname == "cabin"
    assert store.rename(BOB, "home").petname == "home"


def test_names_are_made_up_when_none_is_given(store: TrustStore) -> None:
    first = store.pin(ALICE, petname=None, origin="invite")
    assert first.petname == f"peer-{ALICE[:8]}"
    second = store.pin(ALICE[:8] + "0" * 56, petname=None, origin="invite")
    assert second.petname == f"peer-{ALICE[:8]}-2"
    assert store.pin(ALICE, petname=None, origin="invite").petname == first.petname
    assert store.free_petname("Web-01.example.com", BOB) == "web-01"
    store.pin(BOB, petname="web-01", origin="manual")
    assert store.free_petname("web-01", BOB) == "web-01"
    assert store.free_petname("web-01", CAROL) == "web-01-2"
    store.rename(BOB, "x" * 63)
    assert store.free_petname("x" * 80, CAROL) == "x" * 61 + "-2"
    assert store.free_petname("\x1b[31m", CAROL) == "31m"


@pytest.mark.parametrize("petname", ["", "-x", "a b", "a" * 64, ALICE, ALICE[:8], "irosh1abc", "a\n", "ä"])
def test_impossible_petnames_are_refused(store: TrustStore, petname: str) -> None:
    store.pin(ALICE, petname="good", origin="manual")
    with fails(ErrorCode.USAGE, "petname"):
        store.rename(ALICE, petname)
    with fails(ErrorCode.USAGE, "petname"):
        store.pin(BOB, petname=petname, origin="manual")
    assert [peer.petname for peer in store.peers()] == ["good"]


@pytest.mark.parametrize("peer_id", ["", "a1" * 31, ALICE.upper(), ALICE + "0", "laptop", "\ud800"])
def test_impossible_ids_are_refused(store: TrustStore, peer_id: str) -> None:
    with fails(ErrorCode.USAGE, "not an endpoint id"):
        store.pin(peer_id, petname="x", origin="manual")
    with fails(ErrorCode.USAGE, "not an endpoint id"):
        store.block(peer_id)
    assert store.get(peer_id) is None


def test_pinning_an_active_peer_again_adds(store: TrustStore) -> None:
    store.pin(ALICE, petname="x", origin="invite", capabilities=SHELL, expires_at=2e6)
    again = store.pin(ALICE, petname=None, origin="ticket", capabilities=[*FILES, *SHELL])
    assert again.capabilities == (*SHELL, *FILES)
    assert (again.origin, again.expires_at, again.petname) == ("invite", 2e6, "x")
    assert store.pin(ALICE, petname="y", origin="ticket", expires_at=3e6).expires_at == 3e6
    assert store.find("y") is not None
    assert store.find("x") is None


def test_revoking_holds_until_pinned_again_and_then_only_the_new_counts(store: TrustStore) -> None:
    store.pin(ALICE, petname="x", origin="invite", capabilities=SHELL)
    assert store.revoke(ALICE).status == "revoked"
    assert store.active(ALICE) is None
    assert store.standing(ALICE) == "revoked"
    again = store.pin(ALICE, petname=None, origin="manual", capabilities=FILES)
    assert (again.status, again.capabilities, again.origin) == ("active", FILES, "manual")
    assert store.active(ALICE) == again


def test_expiry(store: TrustStore, clock: Clock) -> None:
    store.pin(ALICE, petname="x", origin="invite", capabilities=SHELL, expires_at=clock.now + 10)
    clock.now += 9.9
    assert store.standing(ALICE) == "active"
    clock.now += 0.1
    assert store.standing(ALICE) == "expired"
    assert store.active(ALICE) is None
    assert store.set_expiry(ALICE, None).expires_at is None
    assert store.standing(ALICE) == "active"
    store.set_expiry(ALICE, clock.now)
    again = store.pin(ALICE, petname=None, origin="invite", capabilities=FILES)
    assert (again.capabilities, again.expires_at) == (FILES, None)


def test_blocking_is_stronger_than_everything(store: TrustStore) -> None:
    store.pin(ALICE, petname="x", origin="invite", capabilities=SHELL)
    store.revoke(ALICE)
    store.block(ALICE)
    assert store.standing(ALICE) == "blocked"
    with fails(ErrorCode.BLOCKED):
        store.pin(ALICE, petname="x", origin="invite", capabilities=SHELL)
    with fails(ErrorCode.BLOCKED):
        store.redeem_invite(store.create_invite(SHELL), ALICE)
    unblocked = store.unblock(ALICE)
    assert unblocked is not None
    assert unblocked.status == "revoked"


def test_strangers_can_be_blocked(store: TrustStore) -> None:
    blocked = store.block(BOB)
    assert (blocked.status, blocked.capabilities, blocked.origin) == ("blocked", (), "block")
    assert store.block(BOB) == blocked
    assert store.peers() == [blocked]
    assert store.unblock(BOB) is None
    assert store.standing(BOB) == "unknown"


def test_capabilities_are_set(store: TrustStore) -> None:
    store.pin(ALICE, petname="x", origin="invite", capabilities=SHELL)
    assert store.set_capabilities(ALICE, FILES).capabilities == FILES
    assert store.set_capabilities(ALICE, ()).capabilities == ()
    assert store.get(ALICE) == store.active(ALICE)


def test_what_is_done_to_nobody_says_so(store: TrustStore) -> None:
    acts: list[Callable[[], object]] = [
        lambda: store.rename(ALICE, "x"),
        lambda: store.set_capabilities(ALICE, ()),
        lambda: store.set_expiry(ALICE, None),
        lambda: store.revoke(ALICE),
        lambda: store.unblock(ALICE),
        lambda: store.remove(ALICE),
    ]
    for act in acts:
        with fails(ErrorCode.UNKNOWN_TARGET, ALICE):
            act()
    store.touch(ALICE)
    store.remember_route(ALICE, ["192.0.2.1:1"], [], None)
    assert store.peers() == []


def test_a_removed_peer_is_forgotten(store: TrustStore) -> None:
    store.pin(ALICE, petname="x", origin="invite", capabilities=SHELL)
    store.remove(ALICE)
    assert store.standing(ALICE) == "unknown"
    store.pin(BOB, petname="x", origin="invite")


def test_routes_and_visits(store: TrustStore, clock: Clock) -> None:
    store.pin(ALICE, petname="x", origin="invite")
    clock.now += 5
    store.touch(ALICE)
    store.remember_route(ALICE, ["192.0.2.1:1", "[2001:db8::1]:2", "192.0.2.1:1"], ["https://relay.example"], "bob")
    peer = store.get(ALICE)
    assert peer is not None
    assert (peer.last_seen, peer.first_seen) == (clock.now, clock.now - 5)
    assert peer.addresses == ("192.0.2.1:1", "[2001:db8::1]:2")
    assert (peer.relays, peer.remote_user) == (("https://relay.example",), "bob")
    store.remember_route(ALICE, [], [], None)
    peer = store.get(ALICE)
    assert peer is not None
    assert (peer.addresses, peer.relays, peer.remote_user) == ((), (), "bob")


def test_hostile_routes_are_bounded(store: TrustStore) -> None:
    store.pin(ALICE, petname="x", origin="invite")
    hostile = ["a\nb", "\x1b[2J", "", "\ud800", "x" * 10_000, *(f"192.0.2.1:{port}" for port in range(1, 5000))]
    store.remember_route(ALICE, hostile, hostile, "\x1b[2J")
    peer = store.get(ALICE)
    assert peer is not None
    assert peer.addresses[0] == "192.0.2.1:1"
    assert len(peer.addresses) <= 32
    assert len(peer.relays) <= 32
    assert peer.remote_user is None


def test_a_grant_of_a_later_version_grants_nothing(tmp_path: Path) -> None:
    path = tmp_path / "irosh.db"
    with TrustStore(path) as store:
        store.pin(ALICE, petname="x", origin="invite", capabilities=SHELL)
    with contextlib.closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE peers SET capabilities = 'teleport:mars' || char(10) || 'shell'")
    with TrustStore(path) as store:
        peer = store.get(ALICE)
        assert peer is not None
        assert peer.capabilities == SHELL


# Names


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True))
def test_petnames_do_not_look_like_ids_or_tickets(text: str) -> None:
    is_hex = set(text.lower()) <= set("0123456789abcdef")
    is_base32 = len(text) == 52 and set(text.lower()) <= set("abcdefghijklmnopqrstuvwxyz234567")
    begins_like_a_ticket = text.lower().startswith(("irosh1", "endpoint"))
    assert valid_petname(text) == (not ((is_hex and len(text) >= 8) or is_base32 or begins_like_a_ticket))


@given(st.text(max_size=100))
def test_host_names_become_petnames_or_nothing(hostname: str) -> None:
    name = petname_from_hostname(hostname)
    assert name is None or valid_petname(name)


@pytest.mark.parametrize(
    ("hostname", "petname"),
    [
        ("build-7", "build-7"),
        ("Anna's MacBook.local", "anna-s-macbook"),
        ("web.example.com", "web"),
        ("localhost", None),
        ("localhost.localdomain", None),
        ("", None),
        ("...", None),
        (ALICE, None),
        ("deadbeef", None),
        ("irosh1evil", None),
        ("b" * 100, None),
        ("h" * 100, "h" * 63),
    ],
)
def test_petnames_from_host_names(hostname: str, petname: str | None) -> None:
    assert petname_from_hostname(hostname) == petname


# The file


def test_the_file_and_its_companions_are_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with TrustStore(tmp_path / "irosh.db") as store:
            store.pin(ALICE, petname="x", origin="invite")
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"irosh.db": 0o600, "irosh.db-wal": 0o600, "irosh.db-shm": 0o600}


def test_a_file_that_others_can_read_is_made_private(tmp_path: Path) -> None:
    path = tmp_path / "irosh.db"
    TrustStore(path).close()
    path.chmod(0o644)
    TrustStore(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    store = TrustStore(tmp_path / "irosh.db")
    store.close()
    store.close()


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "irosh.db"
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA user_version = 999")
    with fails(ErrorCode.STATE_UNUSABLE, "newer irosh (schema 999"):
        TrustStore(path)
    with contextlib.closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (999,)
        assert raw.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "irosh.db"
    path.write_bytes(b"Dear diary, " * 1000)
    with fails(ErrorCode.STATE_UNUSABLE, "move the file away"):
        TrustStore(path)


def test_a_damaged_database(tmp_path: Path) -> None:
    path = tmp_path / "irosh.db"
    with TrustStore(path) as store:
        for number in range(200):
            store.pin(f"{number:064x}", petname=f"p{number}", origin="manual", capabilities=SHELL)
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    with fails(ErrorCode.STATE_UNUSABLE, "move the file away"), TrustStore(path) as store:
        store.peers()


def test_a_directory_that_is_missing(tmp_path: Path) -> None:
    with fails(ErrorCode.STATE_UNUSABLE, "--state"):
        TrustStore(tmp_path / "missing" / "irosh.db")


def test_a_directory_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "irosh.db").mkdir(mode=0o700)
    with fails(ErrorCode.STATE_UNUSABLE, "irosh.db"):
        TrustStore(tmp_path / "irosh.db")


def run_python(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, which can change what a process cannot take back."""
    return subprocess.run(
        [sys.executable, "-c", PREAMBLE + script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


PREAMBLE = """
import os, resource, sys
from pathlib import Path
from irosh.core.errors import IroshError
from irosh.core.trust import TrustStore
path = Path(sys.argv[1])

def attempt(action):
    try:
        action()
    except IroshError as error:
        print(error.code, "|", error.message, "|", error.hint)
    else:
        print("ok")
"""


@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_file_that_is_not_ours(mode: int) -> None:
    script = """
        if os.geteuid() == 0:  # may write anywhere otherwise
            os.setgroups([]), os.setgid(65534), os.setuid(65534)
        attempt(lambda: TrustStore(path))
    """
    # Not tmp_path: an unprivileged process could not even look into it.
    with tempfile.TemporaryDirectory() as base:
        path = Path(base, "irosh.db")
        TrustStore(path).close()
        path.chmod(mode)
        Path(base).chmod(0o555)
        done = run_python(dedent(script), path)
        Path(base).chmod(0o700)
    assert done.stdout.startswith("state-unusable"), done
    assert "--state" in done.stdout


def test_a_directory_that_is_not_ours() -> None:
    script = """
        if os.geteuid() == 0:
            os.setgroups([]), os.setgid(65534), os.setuid(65534)
        attempt(lambda: TrustStore(path))
    """
    with tempfile.TemporaryDirectory() as base:
        Path(base).chmod(0o555)
        done = run_python(dedent(script), Path(base, "irosh.db"))
        Path(base).chmod(0o700)
    assert done.stdout.startswith("state-unusable"), done
    assert "--state" in done.stdout


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    script = """
        store = TrustStore(path)
        store.pin("a1" * 32, petname="x", origin="manual")
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
        def flood():
            for number in range(2000):
                store.audit("connection", None, "refused", "x" * 400)
        attempt(flood)
        print(store.get("a1" * 32).petname)
    """
    done = run_python(dedent(script), tmp_path / "irosh.db")
    error, still_there = done.stdout.splitlines()
    assert error.startswith("state-unusable"), done
    assert "ulimit" in error
    assert still_there == "x"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "irosh-test", str(mounted)],
        capture_output=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip("needs root, to mount a small file system")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def fill(disk: Path) -> Path:
    """Use up all space on ``disk``."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return filler


def test_a_full_disk_is_said_and_survived(small_disk: Path) -> None:
    with TrustStore(small_disk / "irosh.db") as store:
        store.pin(ALICE, petname="x", origin="manual", capabilities=SHELL)
        secret = store.create_invite(SHELL)
        filler = fill(small_disk)
        with fails(ErrorCode.DISK_FULL, "free some space"):
            for _ in range(10_000):
                store.audit("connection", ALICE, "refused", "x" * 400)
        with fails(ErrorCode.DISK_FULL):
            for number in range(10_000):
                store.pin(f"{number:064x}", petname=None, origin="manual", capabilities=SHELL)
        with fails(ErrorCode.DISK_FULL):
            store.redeem_invite(secret, BOB)
        assert store.active(ALICE) is not None, "what is there can still be read"
        filler.unlink()
        assert store.redeem_invite(secret, BOB) == SHELL, "the failed attempt used nothing up"
        store.audit("connection", ALICE, "accepted")
        assert store.audit_log(limit=1)[0].outcome == "accepted"
    with TrustStore(small_disk / "irosh.db") as store:
        assert store.active(ALICE) is not None


def test_a_disk_that_is_full_from_the_start(small_disk: Path) -> None:
    filler = fill(small_disk)
    with fails(ErrorCode.DISK_FULL, "free some space"):
        TrustStore(small_disk / "irosh.db")
    filler.unlink()
    with TrustStore(small_disk / "irosh.db") as store:
        store.pin(ALICE, petname="x", origin="manual")


def test_a_database_that_may_not_grow(tmp_path: Path) -> None:
    opened = database.Database(tmp_path / "irosh.db")
    opened.query("PRAGMA max_page_count = 1")  # SQLite takes the present size, if that is more
    with fails(ErrorCode.DISK_FULL, "free some space"), opened.transaction():
        for number in range(1000):
            opened.execute(
                "INSERT INTO audit (time, event, outcome, detail) VALUES (?, 'x', 'used', ?)", (number, "x" * 400)
            )
    assert opened.query("SELECT count(*) FROM audit") == [(0,)]
    opened.close()


# Several processes


def test_many_processes_open_a_new_file_and_write_at_once(tmp_path: Path) -> None:
    script = """
        worker = int(sys.argv[2])
        sys.stdin.readline()  # all start together
        with TrustStore(path) as store:
            for number in range(50):
                store.audit("test", None, "used", f"{worker}.{number}")
                peer = store.pin(f"{worker * 100 + number:064x}", petname=None, origin="manual")
            print("done")
    """
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", PREAMBLE + dedent(script), str(tmp_path / "irosh.db"), str(worker)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for worker in range(6)
    ]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    assert [worker.communicate(timeout=60)[0] for worker in workers] == ["done\n"] * 6
    with TrustStore(tmp_path / "irosh.db") as store:
        assert len(store.peers()) == 300
        assert len({entry.detail for entry in store.audit_log(limit=1000)}) == 300


def test_a_new_file_can_be_opened_by_all_at_the_same_instant(tmp_path: Path) -> None:
    # Switching a new file to write-ahead logging is where SQLite does not wait for others by itself.
    script = """
        for line in sys.stdin:
            attempt(lambda: TrustStore(path / line.strip()).close())
            sys.stdout.flush()
    """
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", PREAMBLE + dedent(script), str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for number in range(40):
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write(f"{number}.db\n")
            worker.stdin.flush()
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ok\n"
    for worker in workers:
        worker.communicate(timeout=60)


def test_a_process_killed_in_a_transaction_leaves_nothing_half_done(tmp_path: Path) -> None:
    script = """
        store = TrustStore(path)
        store.pin("a1" * 32, petname="before", origin="manual")
        import sqlite3
        raw = sqlite3.connect(path, isolation_level=None)
        raw.execute("BEGIN IMMEDIATE")
        raw.execute("UPDATE peers SET petname = 'during'")
        print("ready", flush=True)
        sys.stdin.read()
    """
    path = tmp_path / "irosh.db"
    with subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + dedent(script), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with TrustStore(path) as store:
            assert store.find("before") is not None, "readers do not wait for a writer"
            process.kill()
            process.wait(30)
            store.rename(ALICE, "after")
            assert store.find("after") is not None


def test_a_file_that_another_process_keeps_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    path = tmp_path / "irosh.db"
    with TrustStore(path) as store, contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with fails(ErrorCode.STATE_IN_USE, "locked"):
            store.pin(ALICE, petname="x", origin="manual")
        other.execute("ROLLBACK")
        store.pin(ALICE, petname="x", origin="manual")
