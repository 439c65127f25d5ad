"""A sender that lies: nothing is written but what was asked for, where it was asked for. And a receiver that does."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from blake3 import blake3

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.files.transfer import scanning, structure
from irosh.services.files.transfer.access import WholeAccess
from irosh.services.files.transfer.frames import (
    HOLE,
    Abort,
    Answer,
    Answers,
    Arrived,
    Begin,
    End,
    Failure,
    Folder,
    Kind,
    Link,
    Offer,
    Offers,
    Pack,
    Problem,
    Same,
    SmallFile,
    Source,
)
from irosh.services.files.transfer.scanning import find_starts
from irosh.services.files.transfer.sending import Sender
from irosh.services.files.transfer.tree_access import TreeAccess
from irosh.services.files.transfer.wire import FrameSocket
from irosh.services.files.view import confined
from tests.services.files.transfer.ends import Watched, foreign_sender, order, transfer
from tests.services.files.transfer.trees import MEBIBYTE, hidden, tree

HERE = Source(0, b"source", True)
TIME = 1_000_000_000


def small(*parts: bytes, data: bytes = b"content", digest: bytes | None = None, source: int = 0) -> Pack:
    """One small file."""
    return Pack([SmallFile(source, list(parts), 0o644, TIME, digest or blake3(data).digest(), data)])


def begin(*parts: bytes, size: int, offset: int = 0, number: int = 1, sparse: bool = False) -> Begin:
    """A large file begins."""
    return Begin(number, 0, list(parts), size, 0o644, TIME, offset, sparse)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The destination, with something precious beside it."""
    (tmp_path / "there").mkdir()
    (tmp_path / "precious").write_text("untouched")
    return tmp_path / "there"


@pytest.mark.parametrize(
    "announced",
    [
        Source(0, b"other", True),
        Source(0, b".bashrc", False),
        Source(0, b"..", True),
        Source(0, b"", True),
        Source(0, b"source/x", False),
        Source(1, b"source", False),
        Source(7, b"source", False),
    ],
)
def test_sources_that_were_not_asked_for(place: Path, announced: Source) -> None:
    with foreign_sender(place, order("/far/source")) as sender:
        sender.announce(announced)
    assert sender.error is not None
    assert sender.error.code is ErrorCode.PROTOCOL
    assert not list(place.iterdir())


def test_a_pattern_lets_only_what_it_stands_for_through(place: Path) -> None:
    asked = order("/far/*.txt")
    with foreign_sender(place, asked) as sender:
        sender.announce(Source(0, b"a.txt", False), Source(0, b"b.txt", False))
        sender.say(Kind.PACK, small(data=b"a"))
        sender.say(Kind.PACK, small(data=b"b", source=1))
        sender.say(Kind.FINISH)
    assert sender.error is None
    assert {path.name for path in place.iterdir()} == {"a.txt", "b.txt"}
    for name in (b"a.exe", b".txt", b".a.txt"):
        with foreign_sender(place, asked) as sender:
            sender.announce(Source(0, name, False))
        assert sender.error is not None


def test_one_source_twice(place: Path) -> None:
    with foreign_sender(place, order("/far/source")) as sender:
        sender.announce(HERE, HERE)
    assert sender.error is not None


def test_a_folder_without_recursive(place: Path) -> None:
    with foreign_sender(place, order("/far/source", recursive=False)) as sender:
        sender.announce(HERE)
    assert sender.error is not None


@pytest.mark.parametrize("name", [b"..", b".", b"../precious", b"/etc/x", b"a\0b"])
def test_names_that_lead_elsewhere(place: Path, name: bytes) -> None:
    for kind, message in (
        (Kind.PACK, small(name)),
        (Kind.PACK, small(b"in", name)),
        (Kind.FOLDER, Folder(0, [name], 0o755, TIME)),
        (Kind.LINK, Link(0, [name], b"x", TIME)),
        (Kind.BEGIN, begin(name, size=1)),
    ):
        with foreign_sender(place, order("/far/source")) as sender:
            sender.announce(HERE)
            sender.say(Kind.FOLDER, Folder(0, [], 0o755, TIME))
            sender.say(kind, message)
            sender.say(Kind.FINISH)
        assert sender.error is not None
        assert sender.error.code is ErrorCode.PROTOCOL
    assert (place.parent / "precious").read_text() == "untouched"
    assert {path.name for path in place.parent.iterdir()} == {"there", "precious"}


def test_nothing_is_written_through_a_link_that_was_just_sent(place: Path) -> None:
    outside = place.parent / "outside"
    outside.mkdir()
    watched = Watched()
    with foreign_sender(place, order("/far/source", links=True), watched) as sender:
        sender.announce(HERE)
        sender.say(Kind.FOLDER, Folder(0, [], 0o755, TIME))
        sender.say(Kind.LINK, Link(0, [b"trap"], os.fsencode(outside), TIME))
        sender.say(Kind.PACK, small(b"trap", b"file"))
        sender.say(Kind.FOLDER, Folder(0, [b"trap", b"folder"], 0o755, TIME))
        sender.say(Kind.BEGIN, begin(b"trap", b"large", size=3))
        sender.say(Kind.END, End(blake3(b"").digest()))
        # A link in a file's own place is replaced, and what it leads to is left alone.
        sender.say(Kind.LINK, Link(0, [b"name"], os.fsencode(place.parent / "precious"), TIME))
        sender.say(Kind.PACK, small(b"name"))
        sender.say(Kind.FINISH)
    assert sender.error is None
    assert [name for name, _ in watched.problems] == ["source/trap/file", "source/trap/folder", "source/trap/large"]
    assert not list(outside.iterdir())
    assert (place.parent / "precious").read_text() == "untouched"
    assert (place / "source" / "name").read_bytes() == b"content"


def test_nothing_is_written_through_a_link_that_was_there(place: Path) -> None:
    outside = place.parent / "outside"
    outside.mkdir(mode=0o755)
    (place / "source").mkdir()
    (place / "source" / "in").symlink_to(outside)
    watched = Watched()
    with foreign_sender(place, order("/far/source"), watched) as sender:
        sender.announce(HERE)
        sender.say(Kind.FOLDER, Folder(0, [], 0o755, TIME))
        sender.say(Kind.FOLDER, Folder(0, [b"in"], 0o700, TIME))
        sender.say(Kind.PACK, small(b"in", b"file"))
        sender.say(Kind.FINISH)
    assert len(watched.problems) == 2
    assert not list(outside.iterdir())
    assert stat.S_IMODE(outside.stat().st_mode) == 0o755


def test_damaged_files_do_not_arrive(place: Path) -> None:
    (place / "source").mkdir()
    for name in ("small", "large"):
        (place / "source" / name).write_text("as it was")
    watched = Watched()
    with foreign_sender(place, order("/far/source"), watched) as sender:
        sender.announce(HERE)
        sender.say(Kind.FOLDER, Folder(0, [], 0o755, TIME))
        sender.say(Kind.PACK, small(b"small", digest=bytes(32)))
        sender.say(Kind.BEGIN, begin(b"large", size=4))
        sender.wire.send_bytes(Kind.DATA, b"data")
        sender.say(Kind.END, End(bytes(32)))
        sender.say(Kind.BEGIN, begin(b"large", size=8))
        sender.wire.send_bytes(Kind.DATA, b"half")
        sender.say(Kind.END, End(blake3(b"half").digest()))
        sender.say(Kind.FINISH)
    assert watched.problems == [
        ("source/small", "arrived damaged"),
        ("source/large", "arrived damaged"),
        ("source/large", "arrived damaged"),
    ]
    assert [path.read_text() for path in (place / "source").iterdir()] == ["as it was"] * 2
    assert sender.result is not None
    assert sender.result.failed == 3


@pytest.mark.parametrize("what", ["data", "hole", "offset", "twice", "stray", "huge", "answers", "unannounced"])
def test_nonsense_ends_the_transfer(place: Path, what: str) -> None:
    with foreign_sender(place, order("/far/source")) as sender:
        if what != "unannounced":
            sender.announce(HERE)
        sender.say(Kind.FOLDER, Folder(0, [], 0o755, TIME))
        if what == "data":
            sender.say(Kind.BEGIN, begin(b"x", size=3))
            sender.say(Kind.DATA, small(b"much more than three bytes"))
        elif what == "hole":
            sender.say(Kind.BEGIN, begin(b"x", size=3))
            sender.wire.send_bytes(Kind.HOLE, HOLE.pack((1 << 64) - 1))
        elif what == "offset":
            sender.say(Kind.BEGIN, begin(b"x", size=30, offset=10))
        elif what == "twice":
            sender.say(Kind.BEGIN, begin(b"x", size=30))
            sender.say(Kind.BEGIN, begin(b"y", size=30))
        elif what == "stray":
            sender.say(Kind.ABORT, Abort("nothing"))
        elif what == "huge":
            sender.wire._sock.sendall(b"\x08\xff\xff\xff\xff")
        elif what == "answers":
            sender.say(Kind.ANSWERS, Answers([]))
        sender.say(Kind.FINISH)
    assert sender.error is not None
    assert sender.error.code is ErrorCode.PROTOCOL
    assert not [path for path in place.rglob("*") if path.is_file()]


def test_offers_of_what_is_elsewhere(place: Path) -> None:
    """Whether a file exists, and what it begins with, is told only of what is below the destination."""
    (place / "source").mkdir()
    (place / "source" / "trap").symlink_to(place.parent)
    with foreign_sender(place, order("/far/source", resume=True)) as sender:
        sender.announce(HERE)
        status = (place.parent / "precious").stat()
        offer = Offer(1, 0, [b"trap", b"precious"], status.st_size, status.st_mtime_ns)
        sender.say(Kind.OFFERS, Offers([offer]))
        answers = sender.heard(Kind.ANSWERS, Answers)
        assert isinstance(answers, Answers)
        assert not answers.answers[0].complete
        assert not answers.answers[0].have
        sender.say(Kind.FINISH)
    assert sender.error is None


def test_who_reads_long_gives_signs_of_life(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other side gives up who says nothing for an hour, which a file of terabytes takes."""
    monkeypatch.setattr("irosh.services.files.transfer.storing._ARRIVED_EVERY", 0.0)
    (place / "source").mkdir()
    (place / "source" / "large").write_bytes(bytes(4 * MEBIBYTE))
    with foreign_sender(place, order("/far/source", resume=True)) as sender:
        sender.announce(HERE)
        sender.say(Kind.OFFERS, Offers([Offer(1, 0, [b"large"], 4 * MEBIBYTE, TIME)]))
        for _ in range(4):
            sender.heard(Kind.ARRIVED, Arrived)
        answers = sender.heard(Kind.ANSWERS, Answers)
        assert isinstance(answers, Answers)
        assert answers.answers[0].in_place
        sender.say(Kind.FINISH)
    assert sender.error is None


def test_what_is_said_to_be_the_same_and_is_elsewhere(place: Path) -> None:
    """Permissions and times are changed only of files below the destination, and not through links."""
    (place / "source").mkdir()
    (place / "source" / "trap").symlink_to(place.parent)
    (place / "source" / "link").symlink_to(place.parent / "precious")
    os.mkfifo(place / "source" / "pipe", 0o600)
    before = (place.parent / "precious").stat()
    watched = Watched()
    with foreign_sender(place, order("/far/source", resume=True), watched) as sender:
        sender.announce(HERE)
        for parts in ([b"trap", b"precious"], [b"link"], [b"pipe"], [b"missing"], []):
            sender.say(Kind.SAME, Same(0, parts, 9, 0o777, TIME))
        sender.say(Kind.FINISH)
    assert sender.error is None
    assert sender.result is not None
    assert (sender.result.unchanged, sender.result.failed, len(watched.problems)) == (0, 5, 5)
    now = (place.parent / "precious").stat()
    assert (now.st_mode, now.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert stat.S_IMODE((place / "source" / "pipe").stat().st_mode) == 0o600


def test_names_with_control_characters_are_kept_as_they_are(place: Path) -> None:
    name = b"\x1b]0;owned\x07\n\xff"
    watched = Watched()
    with foreign_sender(place, order("/far/source"), watched) as sender:
        sender.announce(HERE)
        sender.say(Kind.FOLDER, Folder(0, [], 0o755, TIME))
        sender.say(Kind.PACK, small(name))
        sender.say(Kind.PROBLEM, Problem(0, [name], "\x1b[2J", harmless=False))
        sender.say(Kind.FINISH)
    assert (place / "source" / os.fsdecode(name)).read_bytes() == b"content"
    assert watched.problems == [("source/" + os.fsdecode(name), "\x1b[2J")]


def test_a_transfer_that_is_cut_off_keeps_what_it_has(place: Path) -> None:
    (place / "source").mkdir()
    (place / "source" / "large").write_text("old")
    with foreign_sender(place, order("/far/source")) as sender:
        sender.announce(HERE)
        sender.say(Kind.PACK, small(b"small"))
        sender.say(Kind.BEGIN, begin(b"large", size=MEBIBYTE))
        sender.wire.send_bytes(Kind.DATA, b"the first part")
    assert sender.error is not None
    assert sender.error.code is ErrorCode.CONNECTION_LOST
    assert (place / "source" / "small").read_bytes() == b"content"
    assert (place / "source" / "large").read_text() == "old"
    (left,) = hidden(place)
    assert left.read_bytes() == b"the first part"


class TestConfined:
    """What a peer with ``files:/share`` can do; :mod:`tests.services.files.test_tree_confinement` has the rest."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        root = tmp_path / "source"
        root.mkdir()
        (root / "file").write_text("x")
        (root / "large").write_bytes(bytes(200_000))
        return root

    def test_paths_begin_at_the_tree(self, source: Path, tmp_path: Path) -> None:
        (tmp_path / "share" / "in").mkdir(parents=True)
        transfer(order(source), "/in", access=TreeAccess(confined([(str(tmp_path / "share"), False)])))
        assert tree(tmp_path / "share" / "in" / "source") == tree(source)

    @pytest.mark.parametrize("destination", ["/..", "../..", "/out", "/out/x"])
    def test_nothing_leads_out(self, source: Path, tmp_path: Path, destination: str) -> None:
        (tmp_path / "share").mkdir()
        (tmp_path / "share" / "out").symlink_to(tmp_path)
        before = set(tmp_path.iterdir())
        access = TreeAccess(confined([(str(tmp_path / "share"), False)]))
        with suppress(IroshError):
            transfer(order(source), destination, access=access)
        assert set(tmp_path.iterdir()) == before

    def test_read_only(self, source: Path, tmp_path: Path) -> None:
        (tmp_path / "share").mkdir()
        with pytest.raises(IroshError, match="Read-only"):
            transfer(order(source), "/", access=TreeAccess(confined([(str(tmp_path / "share"), True)])))
        assert not list((tmp_path / "share").iterdir())

    def test_links_that_lead_out_of_their_folder(self, source: Path, tmp_path: Path) -> None:
        (tmp_path / "share").mkdir()
        (source / "up").symlink_to("../../x")
        (source / "absolute").symlink_to("/etc")
        (source / "good").symlink_to("file")
        watched = Watched()
        access = TreeAccess(confined([(str(tmp_path / "share"), False)]))
        transfer(order(source, links=True), "/", access=access, receiving=watched)
        assert sorted(name for name, _ in watched.problems) == ["source/absolute", "source/up"]
        assert (tmp_path / "share" / "source" / "good").is_symlink()


class TestAReceiver:
    """That answers without end what it was not asked: the sender remembers none of it."""

    @pytest.mark.parametrize(
        ("kind", "said"),
        [
            (Kind.ANSWERS, Answers([Answer(number) for number in range(256)])),
            (Kind.ANSWERS, Answers([Answer(1), Answer(1)])),
            (Kind.FAILURE, Failure(7, 0, [b"big"], "no")),
        ],
    )
    def test_that_answers_what_it_was_not_asked(self, tmp_path: Path, kind: Kind, said: msgspec.Struct) -> None:
        (tmp_path / "big").write_bytes(bytes(MEBIBYTE))
        asked = order(tmp_path / "big", resume=True)
        near, far = socket.socketpair()
        with near, far:
            receiver = FrameSocket(far)
            receiver.send(kind, said)
            receiver.end_sending()
            starts = find_starts(WholeAccess(), asked, patterns=False)
            with pytest.raises(IroshError, match="what it was not asked"):
                Sender(FrameSocket(near), WholeAccess(), asked, starts, Watched()).run()


class Counted(WholeAccess):
    """Counts the folders that are looked into."""

    def __init__(self) -> None:
        self.looked_into = 0

    def open_folder(self, path: bytes, *, writing: bool = False) -> int:
        self.looked_into += 1
        return super().open_folder(path, writing=writing)


def test_patterns_name_no_more_than_can_be_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links that lead round make more paths of a few characters than any memory holds."""
    monkeypatch.setattr(scanning, "MAX_EXPANDED", 500)
    for name in range(100):
        (tmp_path / f"{name:03}").symlink_to(".")
    pattern, access = tmp_path / "*" / "*" / "*", Counted()
    assert len(find_starts(access, order(pattern), patterns=True)) == 500
    assert access.looked_into < 20
    with pytest.raises(IroshError, match="more than 500 things"):
        find_starts(access, order(pattern, pattern), patterns=True)


def test_folders_without_end(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in memory until the end is bounded, also where the same folders are announced again and again."""
    monkeypatch.setattr(structure, "MAX_NAMES", 1000)
    with foreign_sender(place, order("/far/source")) as sender:
        sender.announce(HERE)
        sender.say(Kind.FOLDER, Folder(0, [], 0o755, TIME))
        for depth in range(1, 11):
            sender.say(Kind.FOLDER, Folder(0, [b"x"] * depth, 0o755, TIME))
        for _ in range(100):
            sender.say(Kind.FOLDER, Folder(0, [b"x"] * 10, 0o755, TIME))
    assert sender.error is not None and sender.error.code is ErrorCode.PROTOCOL
    assert "borne in mind" in sender.error.message
