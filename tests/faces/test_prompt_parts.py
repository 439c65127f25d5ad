"""The parts of the prompt that need no terminal: its table, completion of paths, and what it shows."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.forward_spec import ForwardSpecError, parse_forward
from irosh.core.prompt_line import parse_prompt_line
from irosh.core.words import quote_word, split_words
from irosh.faces.cli.forwarding import ForwardedConnection, ForwardState
from irosh.faces.cli.options import Settings
from irosh.faces.cli.prompt.commands import COMMANDS, complete, run_command
from irosh.faces.cli.prompt.context import PromptContext
from irosh.faces.cli.prompt.forwards import SessionForwards, forward_lines, pointed
from irosh.faces.cli.prompt.local import columns, path_candidates
from irosh.faces.cli.prompt.transfers import Transfers

EVIL = "\x1b]0;owned\x07"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def context(tmp_path: Path, said: list[str]) -> PromptContext:
    """Of a session that has no forwards yet; its node is never asked."""
    settings = Settings(state=tmp_path / "state")
    forwards, transfers = SessionForwards(settings, "", None, said.append), Transfers(settings, "", said.append)
    return PromptContext(settings, "box", "", None, said.append, forwards, transfers, directory=tmp_path)


def completed(context: PromptContext, before: str) -> list[str]:
    """The whole lines that completion offers."""
    candidates = complete(context, parse_prompt_line(before), before)
    return [before[: len(before) - each.replaces] + each.text for each in candidates]


def run(context: PromptContext, line: str) -> None:
    run_command(context, parse_prompt_line(line))


@pytest.mark.parametrize("name", COMMANDS)
def test_what_the_table_names_is_there(name: str) -> None:
    command = COMMANDS[name]
    assert command.usage.startswith(name)
    for where in filter(None, (command.run, command.complete)):
        module, _, attribute = where.partition(":")
        assert callable(getattr(import_module(f"irosh.faces.cli.{module}"), attribute))
    assert parse_prompt_line(command.usage).command == name


def test_the_help_shows_the_table(context: PromptContext, said: list[str]) -> None:
    run(context, "help")
    assert all(command.usage in said[0] and command.text in said[0] for command in COMMANDS.values())
    run(context, "help put")
    assert len(said[2].splitlines()) == 2


def test_an_unknown_command(context: PromptContext) -> None:
    with pytest.raises(IroshError, match="there is no command 'pit'") as caught:
        run(context, "pit x")
    assert caught.value.code is ErrorCode.USAGE
    assert "'put'" in caught.value.hint


def test_completion_of_commands(context: PromptContext) -> None:
    assert completed(context, "l") == ["lls ", "lcd ", "lpwd "]
    assert completed(context, "-K") == ["-KL", "-KR", "-KD"]
    assert completed(context, "help st") == ["help status"]
    assert completed(context, "nothing ") == []


def test_completion_of_options_and_paths(context: PromptContext, tmp_path: Path) -> None:
    (tmp_path / "it's here").mkdir()
    (tmp_path / "item").write_text("")
    (tmp_path / f"it{EVIL}").write_text("")
    (tmp_path / ".it").write_text("")
    assert completed(context, "put -") == ["put -r ", "put -a ", "put --recursive ", "put --resume "]
    assert completed(context, "put it") == [r"put it\'s\ here/", "put item "]
    assert completed(context, 'put "it') == ["put \"it's here/", 'put "item" ']
    assert completed(context, "put -r ite") == ["put -r item "]
    assert completed(context, "lcd ") == [r"lcd it\'s\ here/"]
    assert completed(context, "lls .i") == ["lls .it "]


@given(st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=8), st.sampled_from(["", "'", '"']))
def test_a_completed_path_is_the_one_meant(name: str, quote: str) -> None:
    begun = quote_word(name[:1], quote)
    for each in path_candidates(f"put {begun}", [name]):
        line = f"put {begun}"[: len(f"put {begun}") - each.replaces] + each.text
        assert [word.text for word in split_words(line)] == ["put", name]
        assert line.isprintable()


@given(st.lists(st.text("ab", min_size=1, max_size=30), min_size=1, max_size=40), st.integers(1, 200))
def test_columns_keep_all_names_in_order(names: list[str], width: int) -> None:
    lines = columns(names, width).split("\n")
    wide = max(map(len, names)) + 2
    cells = [[line[start : start + wide].strip() for start in range(0, len(line), wide)] for line in lines]
    read = [row[number] for number in range(len(cells[0])) for row in cells if number < len(row)]
    assert read == names
    assert all(len(line) <= max(width, wide) for line in lines)


def test_malformed_forwards_point_at_the_character_and_are_shown_safely() -> None:
    line = parse_prompt_line(f"-L80:{EVIL}we b:1")
    with pytest.raises(ForwardSpecError) as caught:
        parse_forward("L", line.rest, directory="/")
    error = pointed(caught.value, line)
    spelled, caret, *_ = error.hint.split("\n")
    assert error.hint.replace("\n", "").isprintable()
    assert spelled.startswith(r"-L80:\x1b]0;owned\x07we b:1")
    assert caret.endswith("^")


def test_names_of_the_other_side_are_shown_safely() -> None:
    connection = ForwardedConnection(peer=f"1.2.3.4:5{EVIL}", target=EVIL, sent=1, received=2)
    states = [ForwardState("R", f"80:{EVIL}", (EVIL,), (connection,), 2, 3, 4, cancelled=False)]
    lines = forward_lines(states)
    assert all(line.isprintable() for line in lines)
    assert "2 open" in lines[0]
    assert lines[-1].strip() == "and 1 more"


def test_listing_here(context: PromptContext, said: list[str], tmp_path: Path) -> None:
    (tmp_path / EVIL.replace("/", "")).write_text("x")
    (tmp_path / "folder").mkdir()
    run(context, "lls")
    assert said[-1].isprintable()
    assert "folder/" in said[-1]
    run(context, "lcd folder")
    run(context, "lpwd")
    assert said[-1] == str((tmp_path / "folder").resolve())
    run(context, "lls -l ..")
    assert re.search(r"1 B  \d{4}-\d\d-\d\d \d\d:\d\d  \\x1b", said[-1])
    with pytest.raises(IroshError, match="No such file"):
        run(context, "lls nowhere")
    with pytest.raises(IroshError, match="character 5: the ' is not closed"):
        run(context, "lls 'a")
    with pytest.raises(IroshError, match="no such file here"):
        run(context, "put nowhere there")


def test_cancel_wants_a_number_that_runs(context: PromptContext) -> None:
    for line in ("cancel", "cancel x", "cancel 1"):
        with pytest.raises(IroshError):
            run(context, line)
    assert context.transfers.lines() == []
