"""``irosh ssh-config``, and the real ssh(1) with it."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from irosh.core.identity import Identity
from irosh.core.trust import TrustStore
from tests.lab.irosh_process import PROGRAM, Irosh
from tests.lab.machine import LOCAL
from tests.lab.pair import Pair, pin, pinned_pair
from tests.lab.processes import wait_until
from tests.lab.requirements import requires

ALICE, BOB = (Identity.from_secret(bytes([number]) * 32).id for number in (1, 2))


def ssh(configuration: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return LOCAL.run("ssh", "-F", str(configuration), "-o", "BatchMode=yes", *arguments, stdin=stdin, check=False)


def options(text: str, host: str) -> dict[str, list[str]]:
    """The options in the block of ``host``, by name."""
    [block] = [block for block in text.split("\n\n") if host in block.splitlines()[0].split()[1:]]
    found: dict[str, list[str]] = {}
    for line in block.splitlines():
        name, _, value = line.strip().partition(" ")
        found.setdefault(name, []).append(value)
    return found


@pytest.fixture
def irosh(tmp_path: Path) -> Irosh:
    return Irosh(LOCAL, tmp_path / "state")


def test_a_block_for_each_peer_but_blocked_ones(irosh: Irosh) -> None:
    assert irosh.run("ssh-config").stdout.startswith(b"# No peers yet")
    irosh.call("peer", "add", ALICE, "--name", "Alice")
    irosh.call("peer", "block", BOB)
    answer = irosh.call("ssh-config")
    assert answer["peers"] == ["Alice"]
    assert answer["ssh_config"] == irosh.run("ssh-config").stdout.decode().rstrip("\n")
    block = options(answer["ssh_config"], "alice")
    assert block["Host"] == ["Alice alice"]
    assert block["HostKeyAlias"] == ["Alice"]
    assert block["StrictHostKeyChecking"] == ["yes"]
    assert block["ProxyCommand"] == [f"{PROGRAM} --state {irosh.state} proxy '%h'"]
    assert "User" not in block
    assert irosh.call("ssh-config", "alice") == answer
    assert irosh.failure("ssh-config", "nobody")["code"] == "unknown-target"


def test_the_default_state_directory_is_not_named(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "xdg")}
    LOCAL.run(PROGRAM, "peer", "add", ALICE, "--name", "alice", environment=environment)
    text = LOCAL.run(PROGRAM, "ssh-config", environment=environment).stdout.decode()
    assert "--state" not in text
    chosen = {**environment, "IROSH_STATE": str(tmp_path / "xdg" / "irosh")}
    text = LOCAL.run(PROGRAM, "ssh-config", environment=chosen).stdout.decode()
    assert options(text, "alice")["ProxyCommand"] == [f"{PROGRAM} --state {tmp_path / 'xdg' / 'irosh'} proxy '%h'"]


@pytest.mark.parametrize("user", ["x\nProxyCommand touch /tmp/pwned", "a b", "-oProxyCommand=x", "x\x1b[2J", ""])
def test_a_peer_cannot_write_into_the_configuration(irosh: Irosh, user: str) -> None:
    irosh.call("peer", "add", ALICE, "--name", "alice")
    with TrustStore(irosh.state / "irosh.db") as trust:
        trust.remember_route(ALICE, (), (), user)
    block = options(irosh.call("ssh-config")["ssh_config"], "alice")
    assert "User" not in block
    assert len(block["ProxyCommand"]) == 1


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pinned_pair(tmp_path_factory.mktemp("pair")) as made:
        yield made


@requires("ssh")
def test_ssh_needs_nothing_else(pair: Pair, tmp_path: Path) -> None:
    text = pair.client.call("ssh-config")["ssh_config"]
    assert options(text, "box")["User"] == [getpass.getuser()]
    configuration = tmp_path / "ssh_config"
    configuration.write_text(text)
    done = ssh(configuration, "box", "cat; echo err >&2; exit 3", stdin=b"\x00\xff data")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"\x00\xff data", b"err\n")


@requires("ssh")
def test_when_ssh_ends_its_connection_ends_at_once(pair: Pair, tmp_path: Path) -> None:
    """And not only when the host has waited long enough for a peer that is silent."""
    configuration = tmp_path / "ssh_config"
    configuration.write_bytes(pair.client.run("ssh-config", "box").stdout)
    assert ssh(configuration, "box", "true").returncode == 0
    own = pair.client.call("identity", "show")["id"]
    wait_until(
        lambda: own not in [connection["id"] for connection in pair.host.call("status")["connections"]],
        timeout=10,
        what="the host has no connection of this client any more",
    )


@requires("ssh")
def test_ssh_with_another_state_directory_in_an_awkward_place(pair: Pair, tmp_path: Path) -> None:
    """Spaces, quotes and percent signs mean something to ssh, to its configuration and to the shell it runs."""
    client = Irosh(LOCAL, tmp_path / 'it\'s 100%h "mine" \\ $(touch pwned)')
    pin(client, pair.host.call("invite")["ticket"], "Box")
    configuration = tmp_path / "ssh_config"
    configuration.write_bytes(client.run("ssh-config").stdout)
    for name in ("Box", "box"):
        done = ssh(configuration, name, "echo reached")
        assert (done.returncode, done.stdout) == (0, b"reached\n"), done.stderr
    assert not Path("pwned").exists()


@requires("ssh")
def test_ssh_refuses_a_host_with_another_key(pair: Pair, tmp_path: Path) -> None:
    """Even where the user's own files hold the key that answers: what irosh pinned counts."""
    pair.client.call("peer", "add", ALICE, "--name", "impostor")
    text = pair.client.call("ssh-config", "impostor")["ssh_config"].replace("proxy '%h'", "proxy box")
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_bytes(pair.client.run("identity", "export-ssh", "box").stdout.replace(b"box", b"impostor"))
    configuration = tmp_path / "ssh_config"
    configuration.write_text(f"{text}\nHost *\n    UserKnownHostsFile {known_hosts}\n")
    done = ssh(configuration, "impostor", "true")
    assert done.returncode == 255
    assert b"Host key verification failed" in done.stderr


def wrote(irosh: Irosh, home: Path, *arguments: str) -> dict[str, object]:
    done = irosh.run("--json", "ssh-config", *arguments, environment={"HOME": str(home)})
    answer: dict[str, object] = json.loads(done.stdout)
    assert answer["ok"] is True, answer
    return answer


USERS_OWN = b"""\
User somebody
ProxyCommand none

Host alice
    User mine
    HostKeyAlias other
# no newline at the end
Host *
    StrictHostKeyChecking no"""


class TestFile:
    """``--write`` and ``--remove``."""

    def test_it_is_made_with_its_directory(self, irosh: Irosh, tmp_path: Path) -> None:
        irosh.call("peer", "add", ALICE, "--name", "alice")
        answer = wrote(irosh, tmp_path, "--write")
        file = tmp_path / ".ssh" / "config"
        about = {"peers": ["alice"], "machines": []}
        assert answer == {"ok": True, "file": str(file), "changed": True, "backup": None, **about}
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        assert irosh.call("ssh-config")["ssh_config"] in file.read_text()

    def test_again_changes_nothing_and_a_new_peer_comes_in(self, irosh: Irosh, tmp_path: Path) -> None:
        irosh.call("peer", "add", ALICE, "--name", "alice")
        wrote(irosh, tmp_path, "--write")
        file = tmp_path / ".ssh" / "config"
        before = file.read_bytes(), file.stat().st_ino
        assert wrote(irosh, tmp_path, "--write")["changed"] is False
        assert (file.read_bytes(), file.stat().st_ino) == before
        irosh.call("peer", "add", BOB, "--name", "bob")
        assert wrote(irosh, tmp_path, "--write")["changed"] is True
        assert file.read_text().count("Host bob") == file.read_text().count("Host alice") == 1
        assert wrote(irosh, tmp_path, "--write", "bob")["peers"] == ["bob"]
        assert "Host alice" not in file.read_text()

    @requires("ssh")
    def test_it_takes_effect_before_the_users_own_lines_and_changes_nothing_else(
        self, irosh: Irosh, tmp_path: Path
    ) -> None:
        irosh.call("peer", "add", ALICE, "--name", "alice")
        file = tmp_path / ".ssh" / "config"
        file.parent.mkdir(0o700)
        file.write_bytes(USERS_OWN)
        before = {name: _effective(file, name) for name in ("alice", "elsewhere")}
        wrote(irosh, tmp_path, "--write")
        assert file.read_bytes().endswith(USERS_OWN)
        assert _effective(file, "elsewhere") == before["elsewhere"]
        effective = _effective(file, "alice")
        assert effective["hostkeyalias"] == "alice"
        assert effective["stricthostkeychecking"] == "true"
        assert effective["proxycommand"].endswith("proxy '%h'")
        assert effective["user"] == "somebody"

    def test_remove_gives_the_very_same_bytes_back(self, irosh: Irosh, tmp_path: Path) -> None:
        irosh.call("peer", "add", ALICE, "--name", "alice")
        file = tmp_path / ".ssh" / "config"
        file.parent.mkdir(0o700)
        file.write_bytes(USERS_OWN)
        file.chmod(0o640)
        assert wrote(irosh, tmp_path, "--remove")["changed"] is False
        answer = wrote(irosh, tmp_path, "--write")
        assert Path(str(answer["backup"])).read_bytes() == USERS_OWN
        assert file.stat().st_mode & 0o777 == 0o640
        assert wrote(irosh, tmp_path, "--remove")["changed"] is True
        assert file.read_bytes() == USERS_OWN
        assert file.stat().st_mode & 0o777 == 0o640

    def test_a_symbolic_link_stays_one(self, irosh: Irosh, tmp_path: Path) -> None:
        irosh.call("peer", "add", ALICE, "--name", "alice")
        real = tmp_path / "dotfiles" / "ssh_config"
        real.parent.mkdir()
        real.write_bytes(USERS_OWN)
        link = tmp_path / ".ssh" / "config"
        link.parent.mkdir(0o700)
        link.symlink_to(real)
        wrote(irosh, tmp_path, "--write")
        assert link.is_symlink()
        assert b"Host alice" in real.read_bytes()
        wrote(irosh, tmp_path, "--remove")
        assert (link.is_symlink(), real.read_bytes()) == (True, USERS_OWN)

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to own files as somebody else")
    def test_the_owner_stays(self, irosh: Irosh, tmp_path: Path) -> None:
        file = tmp_path / "config"
        file.write_bytes(USERS_OWN)
        os.chown(file, 65_534, 65_534)
        wrote(irosh, tmp_path, "--write", "--file", str(file))
        assert (file.stat().st_uid, file.stat().st_gid) == (65_534, 65_534)

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")
    def test_a_full_disk_leaves_the_file_as_it_was(self, irosh: Irosh, tmp_path: Path) -> None:
        irosh.call("peer", "add", ALICE, "--name", "alice")
        disk = tmp_path / "disk"
        disk.mkdir()
        if LOCAL.run("mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk), check=False).returncode != 0:
            pytest.skip("cannot mount a tmpfs")
        try:
            file = disk / "config"
            file.write_bytes(USERS_OWN)
            with suppress(OSError):
                (disk / "filler").write_bytes(bytes(16_384))
            assert irosh.failure("ssh-config", "--write", "--file", str(file))["code"] == "disk-full"
            assert file.read_bytes() == USERS_OWN
            assert sorted(path.name for path in disk.iterdir()) == ["config", "filler"]
        finally:
            LOCAL.run("umount", str(disk))

    def test_a_broken_block_is_not_guessed(self, irosh: Irosh, tmp_path: Path) -> None:
        file = tmp_path / "config"
        wrote(irosh, tmp_path, "--write", "--file", str(file))
        broken = file.read_text().rsplit("#", 1)[0] + "Host mine\n"
        file.write_text(broken)
        for option in ("--write", "--remove"):
            error = irosh.failure("ssh-config", option, "--file", str(file))
            assert (error["code"], str(file) in error["message"]) == ("usage", True)
        assert file.read_text() == broken

    @pytest.mark.parametrize("arguments", [("--write", "--remove"), ("--remove", "alice"), ("--file", "x")])
    def test_what_makes_no_sense_is_refused(self, irosh: Irosh, arguments: tuple[str, ...]) -> None:
        assert irosh.failure("ssh-config", *arguments)["code"] == "usage"


def _effective(file: Path, host: str) -> dict[str, str]:
    """What ssh(1) makes of ``file`` for ``host``."""
    text = LOCAL.run("ssh", "-G", "-F", str(file), host).stdout.decode()
    return {name: value for name, _, value in (line.partition(" ") for line in text.splitlines())}
