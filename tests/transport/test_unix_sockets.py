"""Unix sockets in directories that somebody else can change: between the question and the use, and until the end."""

from __future__ import annotations

import asyncio
import socket
import stat
from contextlib import closing
from pathlib import Path

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.socket_spec import SocketSpec
from irosh.transport.sockets import bind_all, bind_listener, close_listener, connect_source


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A directory that a peer was granted; beside it is one that it was not, with a name in both."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "name").write_text("untouched")
    return tmp_path / "shared"


def swap(directory: Path) -> None:
    """What the directory's owner can do at any time."""
    directory.rename(directory.with_name("moved"))
    directory.symlink_to("precious")


def listening(path: Path, *, follow_links: bool = False) -> socket.socket:
    return asyncio.run(bind_listener(SocketSpec("unix", path=str(path)), follow_links=follow_links))


def connected(path: Path) -> socket.socket:
    return asyncio.run(connect_source(SocketSpec("unix", path=str(path)), [str(path)]))


@pytest.mark.parametrize("follow_links", [False, True])
def test_the_file_is_ours_and_goes_with_the_listener(shared: Path, follow_links: bool) -> None:
    listener = listening(shared / "name", follow_links=follow_links)
    assert stat.S_IMODE((shared / "name").stat().st_mode) == 0o600
    (shared / "name").chmod(0o666)  # as people do to let others in
    with closing(connected(shared / "name")) as client, closing(listener.accept()[0]) as accepted:
        client.send(b"x")
        assert accepted.recv(1) == b"x"
    close_listener(listener)
    assert not (shared / "name").exists()


@pytest.mark.parametrize("follow_links", [False, True])
def test_what_has_taken_the_place_of_the_directory_stays(shared: Path, follow_links: bool) -> None:
    listener = listening(shared / "name", follow_links=follow_links)
    swap(shared)
    close_listener(listener)
    assert (shared / "name").read_text() == "untouched"
    assert not (shared.with_name("moved") / "name").exists()


def test_what_has_taken_the_place_of_the_socket_stays(shared: Path) -> None:
    listener = listening(shared / "name")
    (shared / "name").unlink()
    other = listening(shared / "name")
    close_listener(listener)
    connected(shared / "name").close()
    close_listener(other)


@pytest.mark.parametrize("missing", [False, True])
def test_nothing_is_made_behind_a_link_that_came_after_the_question(shared: Path, missing: bool) -> None:
    if missing:
        (shared.with_name("precious") / "name").unlink()
    swap(shared)
    with pytest.raises(IroshError) as refused:
        asyncio.run(bind_all([SocketSpec("unix", path=str(shared / "name"))], follow_links=False))
    assert refused.value.code is ErrorCode.BIND_FAILED
    assert (shared / "name").exists() is not missing


@pytest.mark.parametrize("link", ["directory", "name"])
def test_nothing_is_connected_to_behind_a_link_that_came_after_the_question(shared: Path, link: str) -> None:
    (shared.with_name("precious") / "name").unlink()
    secret = listening(shared.with_name("precious") / "name")
    if link == "directory":
        swap(shared)
    else:
        (shared / "name").symlink_to("../precious/name")
    with pytest.raises(IroshError):
        connected(shared / "name")
    with pytest.raises(BlockingIOError):
        secret.accept()
    close_listener(secret)


def test_a_link_that_its_user_has_made_is_followed(shared: Path) -> None:
    swap(shared)
    (shared / "name").unlink()
    listener = listening(shared / "name", follow_links=True)
    assert (shared.with_name("precious") / "name").is_socket()
    close_listener(listener)
    assert not (shared / "name").exists()
