"""Which trees of files capabilities grant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.capability import parse_capabilities
from irosh.core.file_tree import EVERYTHING, FileTree
from irosh.core.policy import file_trees, permits


def granted(*rules: str) -> list[str]:
    return [str(tree) for tree in file_trees(parse_capabilities(rules))]


@pytest.mark.parametrize(
    ("rules", "trees"),
    [
        ([], []),
        (["shell", "exec", "user:*", "forward:tcp://*:*"], []),
        (["files"], ["/"]),
        (["all"], ["/"]),
        (["files:/srv"], ["/srv"]),
        (["files:/srv:ro", "files:/data"], ["/srv:ro", "/data"]),
        (["files:/srv:ro", "files"], ["/"]),
        (["files:/srv", "files:/srv:ro"], ["/srv"]),
        (["files:/srv", "files:/srv/a:ro", "files:/srv/b"], ["/srv"]),
        (["files:/srv:ro", "files:/srv/a", "files:/srv/b:ro"], ["/srv:ro", "/srv/a"]),
        (["files:/srv", "files:/srv-old"], ["/srv", "/srv-old"]),
        (["files:/:ro", "files:/srv"], ["/:ro", "/srv"]),
    ],
)
def test_trees(rules: list[str], trees: list[str]) -> None:
    assert granted(*rules) == trees
    assert permits(parse_capabilities(rules), "files") == bool(trees)


paths = st.lists(st.sampled_from(["a", "b", "ab"]), max_size=3).map(lambda parts: "/" + "/".join(parts))
trees_strategy = st.lists(st.builds(FileTree, paths, st.booleans()), max_size=6)


def may(trees: list[FileTree], path: str, *, write: bool) -> bool:
    return any(tree.covers(FileTree(path, read_only=not write)) for tree in trees)


@given(trees_strategy, paths, st.booleans())
def test_leaving_out_what_is_covered_changes_nothing(trees: list[FileTree], path: str, write: bool) -> None:
    kept = list(file_trees(parse_capabilities([f"files:{tree}" for tree in trees])))
    assert may(kept, path, write=write) == may(trees, path, write=write)
    assert not any(one != other and one.covers(other) for one in kept for other in kept)


def test_only_everything_is_everything() -> None:
    assert file_trees(parse_capabilities(["files:/:ro"])) != (EVERYTHING,)
    assert file_trees(parse_capabilities(["files"])) == (EVERYTHING,)
