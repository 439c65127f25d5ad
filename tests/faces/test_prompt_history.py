"""The history of the prompt on disk."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from irosh.faces.cli.prompt.history import MAX_LINE, MAX_SIZE, HistoryFile

_WRITER = """
import sys
from pathlib import Path
from irosh.faces.cli.prompt.history import HistoryFile
history = HistoryFile(Path(sys.argv[1]))
sys.stdin.read()
for number in range(int(sys.argv[3])):
    history.add(f"lcd {sys.argv[2]}/{number}")
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history"


def test_what_one_prompt_was_told_the_next_one_knows(path: Path) -> None:
    before = os.umask(0)
    try:
        HistoryFile(path).add("lpwd")
    finally:
        os.umask(before)
    HistoryFile(path).add("-L8080:web:80")
    assert HistoryFile(path).lines() == ["lpwd", "-L8080:web:80"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "line",
    [
        "",
        "correct horse battery",
        " lcd secret",
        "lcd irosh1qqqq",
        "lcd a\x1b[2J",
        "lcd a\nlpwd",
        f"lcd {'x' * MAX_LINE}",
    ],
)
def test_what_has_no_place_in_it(path: Path, line: str) -> None:
    history = HistoryFile(path)
    history.add(line)
    assert history.lines() == []
    path.write_text(f"{line}\nlpwd\n")
    path.chmod(0o600)
    assert line not in history.lines() and history.lines()[-1] == "lpwd"


def test_it_stays_small_and_loses_the_oldest(path: Path) -> None:
    history = HistoryFile(path)
    written = [f"lcd {number}/{'x' * (MAX_LINE // 2)}" for number in range(4 * MAX_SIZE // MAX_LINE)]
    for each in written:
        history.add(each)
        assert path.stat().st_size <= MAX_SIZE
    kept = history.lines()
    assert len(kept) * MAX_LINE > MAX_SIZE // 2
    assert kept == written[-len(kept) :]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == [path.name]


def test_several_at_once_destroy_nothing(path: Path) -> None:
    count = 300  # together more than fit, so that the file is replaced meanwhile
    filler = HistoryFile(path)
    while path.stat().st_size < MAX_SIZE - 8192 if path.exists() else True:
        filler.add(f"lcd {'x' * 500}")
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(path), name, str(count)], stdin=subprocess.PIPE)
        for name in ("one", "two", "three")
    ]
    for each in writers:
        assert each.stdin is not None
        each.stdin.close()
    assert [each.wait(30) for each in writers] == [0, 0, 0]
    lines = HistoryFile(path).lines()
    for name in ("one", "two", "three"):
        assert [each for each in lines if f" {name}/" in each] == [f"lcd {name}/{number}" for number in range(count)]


def test_what_cannot_be_used_is_left_alone(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("lpwd\n")
    path.symlink_to(target)
    HistoryFile(path).add("lls")
    assert HistoryFile(path).lines() == []
    assert target.read_text() == "lpwd\n"
    os.mkfifo(tmp_path / "fifo")
    assert HistoryFile(tmp_path / "fifo").lines() == []
    assert HistoryFile(tmp_path / "nowhere" / "history").lines() == []
