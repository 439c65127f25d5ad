"""Every page's commands do what the page shows."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import pytest

from irosh.core.config import load_config
from tests.docs.markdown import PAGES, ROOT, Page, read_page
from tests.docs.sandbox import Sandbox
from tests.docs.transcript import Step, steps_of

KINDS = {"console", "sh", "text", "toml", "ini", "python"}
NOT_RUN = 5
"""Blocks of kind ``text`` or ``ini`` that all pages together may have: few, for nothing shows that they are true."""

_PROGRAMS = re.compile(r"(?<![\w/.-])(curl|ssh)(?= )")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_examples_do_what_is_shown(path: Path) -> None:
    steps = _all_steps(read_page(path))
    needed = {name for step in steps for name in _PROGRAMS.findall(step.command)} | {"bash"}
    if missing := sorted(name for name in needed if shutil.which(name) is None):
        pytest.skip(f"needs {', '.join(missing)}: see tests/packages.sh")
    # Not pytest's directory: a control socket's path has to be short.
    with tempfile.TemporaryDirectory(prefix="irosh-docs-") as directory, Sandbox(Path(directory)) as sandbox:
        sandbox.play(steps)


def test_nearly_all_blocks_are_run() -> None:
    blocks = [(page.name, block) for page in map(read_page, PAGES) for block in page.blocks]
    unknown = [f"{name}:{block.line}: {block.kind!r}" for name, block in blocks if block.kind not in KINDS]
    assert not unknown
    assert sum(block.kind in ("text", "ini") for _, block in blocks) <= NOT_RUN
    assert sum(block.kind == "console" for _, block in blocks) > 20


def test_configuration_files_on_the_pages_are_valid(tmp_path: Path) -> None:
    texts = ["\n".join(block.lines) for path in PAGES for block in read_page(path).blocks if block.kind == "toml"]
    assert texts
    for number, text in enumerate(texts):
        file = tmp_path / f"{number}.toml"
        file.write_text(text)
        file.chmod(0o600)
        load_config(file)


def _all_steps(page: Page) -> list[Step]:
    before = _all_steps(read_page(ROOT / "docs" / page.after)) if page.after else []
    return [*before, *steps_of(page)]
