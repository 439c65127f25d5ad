"""The Python on the pages runs: each page's blocks one after another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.docs.markdown import PAGES, read_page
from tests.lab.requirements import requires, requires_netns, requires_shaping

_WITH_PYTHON = [path for path in PAGES if any(block.kind == "python" for block in read_page(path).blocks)]


@pytest.mark.netns
@requires_netns()
@requires_shaping()
@requires("turnserver")
@pytest.mark.parametrize("path", _WITH_PYTHON, ids=lambda path: path.stem)
def test_the_python_on_a_page_runs(path: Path) -> None:
    names: dict[str, Any] = {}
    page = read_page(path)
    for block in page.blocks:
        if block.kind == "python":
            # Empty lines before it, so that a failure tells the line of the page.
            text = "\n" * (block.line - 1) + "\n".join(block.lines)
            exec(compile(text, str(page.path), "exec"), names)
