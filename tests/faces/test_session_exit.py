"""How a command ends whose session has: by what a host says of it, which may be anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from irosh.faces.cli.carrier import SessionEnd
from irosh.faces.cli.options import Settings
from irosh.faces.cli.session_exit import EXIT_LOST, ended


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state=tmp_path)


@pytest.mark.parametrize(("said", "status"), [(0, 0), (3, 3), (255, 255), (256, 0), (2**32 - 1, 255), (-(2**70), 0)])
def test_any_status_is_one_that_a_process_can_have(settings: Settings, said: int, status: int) -> None:
    assert ended(settings, SessionEnd(said, None, {})) == status


def test_the_name_of_a_signal_cannot_write_to_the_terminal(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    signal = "TERM\x1b]0;title\x07\r\nroot@host:~# "
    assert ended(settings, SessionEnd(None, signal, {})) == EXIT_LOST
    ended(settings, SessionEnd(None, signal, {"session": "work", "exit_signal": signal, "ended_at": 1e300}))
    said = capsys.readouterr().err
    assert said.count("ended by signal TERM") == 3
    assert all(line.isprintable() for line in said.splitlines())
