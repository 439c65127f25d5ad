"""The reader of pages itself: what it takes for a command, and what it accepts as the output that a page shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.docs.markdown import Page, parse_page
from tests.docs.transcript import Step, shown_beginning, shows_all, shows_beginning, steps_of

PAGE = """\
# A page

```console
server$ irosh host
This machine is ...
^C
irosh: stopped
laptop$ irosh connect server \\
> 'exit 7'
laptop$ echo $?
7
```

`code` and [a link](other.md#an-anchor), but `[no](link)`.

```sh
true
```

```text
laptop$ not run
```
"""

lines = st.lists(st.text(st.characters(categories=["L", "N", "P"]), min_size=1).filter(lambda line: "..." not in line))


def page(text: str) -> Page:
    """A page that no file holds."""
    return parse_page(Path("page.md"), text)


def test_commands_and_their_output() -> None:
    assert steps_of(page(PAGE)) == [
        Step("page.md:4", "server", "irosh host", ["This machine is ..."], ["irosh: stopped"]),
        Step("page.md:8", "laptop", "irosh connect server \\\n'exit 7'"),
        Step("page.md:10", "laptop", "echo $?", ["7"]),
        Step("page.md:17", "laptop", "set -e\ntrue"),
    ]


@pytest.mark.parametrize(
    ("command", "keeps_running"),
    [
        ("irosh host --bind 127.0.0.1:0", True),
        ("irosh --json tunnel open server", True),
        ("irosh relay serve", True),
        ("irosh connect host", False),
        ("irosh connect server 'irosh host'", False),
        ("python3 -m http.server 8000", True),
    ],
)
def test_what_runs_until_it_is_interrupted(command: str, keeps_running: bool) -> None:
    assert Step("", "laptop", command).keeps_running is keeps_running


def test_spans_links_and_anchors() -> None:
    parsed = page(PAGE + "\n## What is `this`, then?\n")
    assert parsed.spans() == ["code", "[no](link)", "this"]
    assert parsed.links() == ["other.md#an-anchor"]
    assert parsed.anchors() == {"a-page", "what-is-this-then"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```console\nno prompt\n```", "begins with a prompt"),
        ("```console\nlaptop$ a \\\nb\n```", "continues a command"),
        ("```console\nlaptop$ a\n", "does not end"),
    ],
)
def test_a_page_that_cannot_be_read(text: str, problem: str) -> None:
    with pytest.raises(AssertionError, match=problem):
        steps_of(page(text))


@pytest.mark.parametrize(
    ("shown", "output", "beginning", "all_"),
    [
        (["a", "b"], "a\nb\n", True, True),
        (["a"], "a\nb\n", True, False),
        (["a"], "ab\n", False, False),
        (["b"], "a\nb\n", False, False),
        (["a", "b"], "a\n", False, False),
        (["a ...z"], "a bc z\n", True, True),
        (["a ...z"], "a bc\nz\n", False, False),
        (["...", "c"], "a\nb\nc\n", True, True),
        (["a", "..."], "a\nb\nc\n", True, True),
        (["a", "..."], "a\n", True, True),
        (["a", "", "b", ""], "a  \n\nb\n\n", True, True),
        (["a.c"], "abc\n", False, False),
        (["ID   NAME", "...  a"], "ID          NAME\n0123456789  a\n", True, True),
        (["    indented"], "  indented\n", False, False),
        ([], "a\n", True, False),
    ],
)
def test_what_a_page_shows_of_an_output(shown: list[str], output: str, beginning: bool, all_: bool) -> None:
    assert shows_beginning(shown, output) is beginning
    assert shows_all(shown, output) is all_


def test_what_follows_the_beginning() -> None:
    assert shown_beginning(["a", "b ..."], "a\nb c\nd\n") == "d\n"


@given(lines, st.data())
def test_every_output_shows_itself_and_no_other(output: list[str], data: st.DataObject) -> None:
    text = "".join(f"{line}\n" for line in output)
    assert shows_all(output, text)
    assert not shows_all(output, text + "x\n")
    if output:
        dropped = data.draw(st.integers(0, len(output) - 1))
        assert shows_all([*output[:dropped], "...", *output[dropped + 1 :]], text)
        assert not shows_all([*output[:dropped], *output[dropped + 1 :]], text)


@pytest.mark.parametrize(
    ("command", "pastes"),
    [
        ("irosh host --mode custom", True),
        ("irosh --json connect --mode iroh-manual - \\\n'echo'", True),
        ("irosh host --mode nostr", False),
        ("irosh host --mode custom --offer-file o --answer-file a", False),
        ("irosh connect --mode custom - \\\n--offer-file o --answer-file a", False),
    ],
)
def test_whose_blocks_are_pasted(command: str, pastes: bool) -> None:
    assert Step("page:1", "laptop", command).pastes is pastes
