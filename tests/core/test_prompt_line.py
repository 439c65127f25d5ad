"""Lines of the prompt: which command, with what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.prompt_line import PromptLine, parse_prompt_line


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", PromptLine("", "", 0)),
        ("   ", PromptLine("", "", 3)),
        ("-L8080:host:80", PromptLine("-L", "8080:host:80", 2)),
        ("-L 8080:host:80", PromptLine("-L", "8080:host:80", 3)),
        (" L8080:host:80 ", PromptLine("-L", "8080:host:80", 2)),
        ("-Llocalhost:1:h:2", PromptLine("-L", "localhost:1:h:2", 2)),
        ("-D 1080", PromptLine("-D", "1080", 3)),
        ("-R[::1]:0:h:2", PromptLine("-R", "[::1]:0:h:2", 2)),
        ("-KL8080", PromptLine("-KL", "8080", 3)),
        ("KD *:1080", PromptLine("-KD", "*:1080", 3)),
        ("-L", PromptLine("-L", "", 2)),
        ("put a b", PromptLine("put", "a b", 4)),
        ("  get   'a b' ", PromptLine("get", "'a b'", 8)),
        ("status", PromptLine("status", "", 6)),
        ("?", PromptLine("help", "", 1)),
        ("-h", PromptLine("help", "", 2)),
        ("-K8080", PromptLine("-K8080", "", 6)),
        ("nonsense here", PromptLine("nonsense", "here", 9)),
    ],
)
def test_lines(line: str, expected: PromptLine) -> None:
    assert parse_prompt_line(line) == expected


@given(st.text())
def test_the_rest_stands_where_it_is_said_to(line: str) -> None:
    parsed = parse_prompt_line(line)
    assert line[parsed.column :].startswith(parsed.rest)
