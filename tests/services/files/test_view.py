"""What a peer sees as its file system."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.services.files.view import View, confined, everything, join, split

ONE = confined([("/srv/share", False)])
TWO = confined([("/srv/share", False), ("/srv/other/deep", True)])


def test_one_tree_is_the_root() -> None:
    (mount,) = ONE.mounts
    assert (mount.at, mount.path, ONE.start, ONE.confined) == ((), b"/srv/share", (), True)


def test_several_trees_are_at_their_own_paths() -> None:
    assert TWO.mount_at(()) is None
    assert TWO.on_the_way(()) == [b"srv"]
    assert TWO.on_the_way((b"srv",)) == [b"share", b"other"]
    share = TWO.mount_at((b"srv", b"share"))
    assert share is not None and not share.read_only
    assert TWO.is_fixed((b"srv", b"other")) and not TWO.is_fixed((b"srv", b"share", b"file"))


def test_everything_begins_at_home() -> None:
    view = everything("/home/ann")
    assert (view.start, view.confined, view.mounts[0].path) == ((b"home", b"ann"), False, b"/")


@pytest.mark.parametrize(
    ("says", "directory", "kept"),
    [
        (b"file", b"/", b"file"),
        (b"../file", b"/a", b"../file"),
        (b"../../file", b"/a", None),
        (b"..", b"/", None),
        (b"a/../..", b"/", None),
        (b"/file", b"/a/b", b"../../file"),
        (b"/a/b", b"/a/b", b"."),
        (b"/a/c", b"/a/b", b"../c"),
        (b"/../etc/shadow", b"/a", None),
        (b"", b"/", b""),
    ],
)
def test_links_that_would_lead_out_are_not_made(says: bytes, directory: bytes, kept: bytes | None) -> None:
    assert ONE.link_text(says, split(directory)[0]) == kept


def test_a_link_to_a_place_between_the_trees_is_not_made() -> None:
    share = (b"srv", b"share")
    assert TWO.link_text(b"/etc/passwd", share) is None
    assert TWO.link_text(b"../x", share) is None
    assert TWO.link_text(b"/srv/other/deep/x", share) == b"../other/deep/x"


names = st.sampled_from([b"a", b"b", b"..", b".", b""])
paths = st.builds(
    lambda parts, slash: slash + b"/".join(parts), st.lists(names, max_size=8), st.sampled_from([b"", b"/"])
)


@given(paths, st.lists(st.sampled_from([b"a", b"b"]), max_size=4).map(tuple))
def test_a_kept_link_stays_inside_and_names_the_same(says: bytes, directory: tuple[bytes, ...]) -> None:
    view: View = ONE
    kept = view.link_text(says, directory)
    if kept is None:
        return
    assert not kept.startswith(b"/")
    inside = posixpath.normpath(posixpath.join(b"/", join(directory), says))
    real = posixpath.normpath(posixpath.join(b"/srv/share" + join(directory), kept))
    assert real == posixpath.normpath(b"/srv/share" + inside)
