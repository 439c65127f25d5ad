"""Programs that people copy files with, and what is built on them, against an irosh host."""

from __future__ import annotations

import getpass
import os
import shlex
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.irosh_process import Irosh
from tests.lab.machine import LOCAL, end_group
from tests.lab.pair import PEER, Pair
from tests.lab.processes import wait_until
from tests.lab.requirements import find_program, requires
from tests.lab.servers import listens, unused_port
from tests.support.compatibility import shows

pytestmark = requires("ssh", "sftp", "scp")

TIMEOUT = 90.0


@dataclass(frozen=True)
class Client:
    """One irosh client with the configuration for OpenSSH that it prints; ``here`` and ``there`` are both ends."""

    irosh: Irosh
    configuration: Path
    here: Path
    there: Path

    def run(
        self, *command: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end, in the directory ``here``."""
        script = f"cd {shlex.quote(str(self.here))} && exec {shlex.join(command)}"
        return LOCAL.run("sh", "-c", script, stdin=stdin, timeout=TIMEOUT, check=False, environment=environment)

    def ssh(self, program: str, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """``ssh``, ``scp`` or ``sftp`` with the configuration."""
        return self.run(program, "-F", str(self.configuration), "-oBatchMode=yes", *arguments, stdin=stdin)

    @property
    def remote_shell(self) -> str:
        """What programs are told that take a command in place of ssh."""
        return f"ssh -F {self.configuration} -oBatchMode=yes"


def _client(irosh: Irosh, directory: Path) -> Client:
    here, there = directory / "here", directory / "there"
    here.mkdir()
    there.mkdir(exist_ok=True)
    configuration = directory / "ssh_config"
    configuration.write_bytes(irosh.run("ssh-config", PEER).stdout)
    return Client(irosh, configuration, here, there)


@pytest.fixture
def client(loopback_pair: Pair, tmp_path: Path) -> Client:
    """A client with what an invite grants."""
    return _client(loopback_pair.client, tmp_path)


def ok(done: subprocess.CompletedProcess[bytes]) -> bytes:
    assert done.returncode == 0, (done.stdout[-2000:] + done.stderr[-2000:]).decode(errors="replace")
    return done.stdout


@shows("sftp", "`put`, `get`, `ls`, `rename`, `ln`, `ln -s`, `df`, `chmod`, `mkdir`, `rmdir`, `rm`, `put -p`, `cp`")
def test_sftp(client: Client) -> None:
    (client.here / "file").write_bytes(os.urandom(3_000_000))
    os.utime(client.here / "file", (1_000_000_000, 1_100_000_000))
    commands = """
        put -p file one
        rename one two
        ln two three
        ln -s two four
        chmod 640 two
        mkdir sub
        cp two sub/copy
        ls -la
        df -h
        get four back
        rm three
        mkdir gone
        rmdir gone
        !echo local
    """
    output = ok(client.ssh("sftp", f"{PEER}:{client.there}", stdin=commands.encode()))
    assert b"local" in output and b"%Capacity" in output
    (line,) = (line for line in output.splitlines() if line.startswith(b"-rw-r-----") and line.endswith(b" two"))
    assert line.split()[:4:3] == [b"-rw-r-----", getpass.getuser().encode()]
    data = (client.here / "file").read_bytes()
    assert (client.here / "back").read_bytes() == (client.there / "sub/copy").read_bytes() == data
    assert sorted(os.listdir(client.there)) == ["four", "sub", "two"]
    assert os.readlink(client.there / "four") == "two"
    found = (client.there / "two").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_mtime) == (0o640, 1_100_000_000)


@shows("sftp", "`reget`, `reput`: transfers that were cut off go on")
def test_sftp_goes_on_where_it_was_cut(client: Client) -> None:
    data = os.urandom(2_000_000)
    (client.there / "down").write_bytes(data)
    (client.here / "down").write_bytes(data[:700_000])
    (client.here / "up").write_bytes(data)
    (client.there / "up").write_bytes(data[:300_000])
    ok(client.ssh("sftp", "-b", "-", f"{PEER}:{client.there}", stdin=b"reget down\nreput up\n"))
    assert (client.here / "down").read_bytes() == (client.there / "up").read_bytes() == data


@shows("sftp", "`put -R`, `get -R`: whole trees, with links and odd names")
def test_sftp_whole_trees(client: Client) -> None:
    tree = client.here / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    for name in ("plain", "with space", "ü\N{SNOWMAN}", "-dash", "a\tb", "'quoted\""):
        (tree / "a" / "b" / name).write_text(name)
    ok(client.ssh("sftp", "-b", "-", f"{PEER}:{client.there}", stdin=b"put -R tree\nget -R tree again\n"))
    for copy in (client.there / "tree", client.here / "again"):
        assert sorted(os.listdir(copy / "a" / "b")) == sorted(os.listdir(tree / "a" / "b"))


def test_a_failed_command_says_why(client: Client) -> None:
    (client.there / "kept").write_bytes(b"1")
    done = client.ssh("sftp", "-b", "-", f"{PEER}:{client.there}", stdin=b"get no-such\n")
    assert done.returncode == 1
    assert b"not found" in done.stderr + done.stdout


@shows("scp", "files both ways, `-r -p`, patterns, from one peer to another (`-3`)")
def test_scp(client: Client) -> None:
    _copy_both_ways(client, "scp")
    for name in ("a.txt", "b.txt"):
        (client.there / name).write_text(name)
    ok(client.ssh("scp", f"{PEER}:{client.there}/*.txt", "."))
    assert (client.here / "b.txt").read_text() == "b.txt"
    ok(client.ssh("scp", "-3", f"{PEER}:{client.there}/a.txt", f"{PEER}:{client.there}/third"))
    assert (client.there / "third").read_text() == "a.txt"


@shows("scp -O", "files both ways, `-r -p`, patterns: the old protocol, by the host's own `scp`")
def test_scp_with_the_old_protocol(client: Client) -> None:
    _copy_both_ways(client, "scp", "-O")


def _copy_both_ways(client: Client, program: str, *options: str) -> None:
    tree = client.here / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "script").write_bytes(os.urandom(1_500_000))
    (tree / "sub" / "script").chmod(0o750)
    os.utime(tree / "sub" / "script", (1_000_000_000, 1_100_000_000))
    ok(client.ssh(program, *options, "-r", "-p", "tree", f"{PEER}:{client.there}/put"))
    ok(client.ssh(program, *options, "-r", "-p", f"{PEER}:{client.there}/put", "got"))
    for copy in (client.there / "put", client.here / "got"):
        found = (copy / "sub" / "script").stat()
        assert (stat.S_IMODE(found.st_mode), found.st_mtime) == (0o750, 1_100_000_000)
        assert (copy / "sub" / "script").read_bytes() == (tree / "sub" / "script").read_bytes()
    missing = client.ssh(program, *options, f"{PEER}:{client.there}/no-such", ".")
    assert missing.returncode == 1 and b"No such file" in missing.stderr


@requires("rsync")
@shows("rsync", "`-a` both ways, `--delete`, `--partial`, only what changed")
def test_rsync(client: Client) -> None:
    tree = client.here / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "large").write_bytes(os.urandom(2_000_000))
    (tree / "link").symlink_to("sub/large")
    sync = ("rsync", "-a", "--delete", "--partial", "--stats", "-e", client.remote_shell)
    ok(client.run(*sync, "tree/", f"{PEER}:{client.there}/"))
    (tree / "sub" / "second").write_bytes(b"2")
    (client.there / "stray").write_bytes(b"not in the tree")
    output = ok(client.run(*sync, "tree/", f"{PEER}:{client.there}/"))
    assert b"Number of regular files transferred: 1\n" in output
    assert not (client.there / "stray").exists()
    ok(client.run(*sync, f"{PEER}:{client.there}/", "back/"))
    assert (client.here / "back/sub/large").read_bytes() == (tree / "sub/large").read_bytes()
    assert os.readlink(client.here / "back/link") == "sub/large"


@requires("ansible")
@shows("ansible", "`-m ping`, `-m copy`, `-m command`: modules by SFTP, then run")
def test_ansible(client: Client) -> None:
    (client.here / "file").write_text("by ansible")
    environment = {
        "ANSIBLE_SSH_ARGS": f"-F {client.configuration}",
        "ANSIBLE_HOME": str(client.here / "ansible"),
        "ANSIBLE_REMOTE_TMP": str(client.there / "tmp"),
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
        "ANSIBLE_LOCALHOST_WARNING": "false",
    }

    def ansible(*arguments: str) -> bytes:
        return ok(client.run("ansible", "all", "-i", f"{PEER},", *arguments, environment=environment))

    assert b'"ping": "pong"' in ansible("-m", "ping")
    ansible("-m", "copy", "-a", f"src=file dest={client.there}/copied mode=0600")
    assert (client.there / "copied").read_text() == "by ansible"
    assert b"hello" in ansible("-m", "command", "-a", "echo hello")


@requires("lftp")
@shows("lftp", "`mirror -R`, `mirror`, `mv`, `cls`, `chmod` (`sftp://`)")
def test_lftp(client: Client) -> None:
    tree = client.here / "tree"
    (tree / "sub").mkdir(parents=True)
    for number in range(20):
        (tree / "sub" / f"{number}").write_bytes(os.urandom(10_000))
    script = f"""
        set sftp:connect-program "{client.remote_shell} -a -x"
        set cmd:fail-exit true
        open -u {getpass.getuser()}, sftp://{PEER}
        cd {client.there}
        mirror -R tree put
        mv put/sub/1 put/sub/one
        chmod 600 put/sub/2
        cls -1 put/sub
        mirror put got
    """
    output = ok(client.run("lftp", "-f", "/dev/stdin", stdin=script.encode(), environment={"HOME": str(client.here)}))
    assert b"one" in output
    assert (client.here / "got/sub/one").read_bytes() == (tree / "sub/1").read_bytes()
    assert stat.S_IMODE((client.there / "put/sub/2").stat().st_mode) == 0o600


@contextmanager
def _port(client: Client) -> Iterator[int]:
    """A local port that is the host's SSH server, for programs that cannot run another in its place."""
    with client.irosh.start("proxy", "--listen", "127.0.0.1:0", PEER) as process:
        address = str(process.wait_event("listening")["listen"])
        process.wait_event("ready")
        yield int(address.rpartition(":")[2])


def _fingerprint(client: Client) -> str:
    """``SHA256:...`` of the host's key."""
    exported = client.irosh.run("identity", "export-ssh", PEER).stdout
    return LOCAL.run("ssh-keygen", "-l", "-f", "-", stdin=exported).stdout.split()[1].decode()


@requires("psftp")
@shows(
    "psftp",
    "`put -r`, `get -r`, `mv`, `chmod`, `reget`: PuTTY's SFTP, on which FileZilla's is built",
    through="`irosh proxy --listen`",
)
def test_psftp(client: Client) -> None:
    (client.here / "tree").mkdir()
    (client.here / "tree" / "file").write_bytes(os.urandom(1_000_000))
    script = f"cd {client.there}\nput -r tree put\nmv put/file put/moved\nchmod 600 put/moved\nget -r put got\nls put\n"
    with _port(client) as port:
        arguments = ("-batch", "-P", str(port), "-hostkey", _fingerprint(client), "-l", getpass.getuser())
        output = ok(client.run("psftp", *arguments, "-b", "/dev/stdin", "127.0.0.1", stdin=script.encode()))
        (client.here / "part").write_bytes((client.here / "tree" / "file").read_bytes()[:400_000])
        again = f"cd {client.there}/put\nreget moved part\n".encode()
        ok(client.run("psftp", *arguments, "-b", "/dev/stdin", "127.0.0.1", stdin=again))
    assert b"moved" in output
    data = (client.here / "tree" / "file").read_bytes()
    assert (client.here / "got" / "moved").read_bytes() == (client.here / "part").read_bytes() == data
    assert stat.S_IMODE((client.there / "put" / "moved").stat().st_mode) == 0o600


def _curl_has_sftp() -> bool:
    return find_program("curl") is not None and b"sftp" in LOCAL.run("curl", "--version").stdout


@pytest.mark.skipif(not _curl_has_sftp(), reason="needs a curl that was built with libssh2")
@shows("curl", "`sftp://`: `-T`, download, a range, `-Q rename`", through="`irosh proxy --listen`")
def test_curl(client: Client) -> None:
    (client.here / "file").write_bytes(os.urandom(2_000_000))
    with _port(client) as port:
        known_hosts = client.here / "known_hosts"
        exported = client.irosh.run("identity", "export-ssh", PEER).stdout.split()
        known_hosts.write_bytes(b" ".join([b"[127.0.0.1]:%d" % port, *exported[1:3]]) + b"\n")
        (client.here / ".ssh").mkdir()
        known_hosts.rename(client.here / ".ssh" / "known_hosts")
        url = f"sftp://{getpass.getuser()}@127.0.0.1:{port}{client.there}"

        def curl(*arguments: str) -> bytes:
            return ok(client.run("curl", "-sS", *arguments, environment={"HOME": str(client.here)}))

        curl("-T", "file", f"{url}/up")
        assert curl(f"{url}/up") == (client.here / "file").read_bytes()
        assert curl("-r", "100-199", f"{url}/up") == (client.here / "file").read_bytes()[100:200]
        curl("-Q", f"rename {client.there}/up {client.there}/renamed", f"{url}/")
    assert (client.there / "renamed").read_bytes() == (client.here / "file").read_bytes()


_PARAMIKO = """
import sys, paramiko
proxy, known_hosts, user, there = sys.argv[1:]
transport = paramiko.Transport(paramiko.ProxyCommand(proxy))
transport.start_client(timeout=60)
key = transport.get_remote_server_key()
assert paramiko.HostKeys(known_hosts).check("box", key), "another host key"
transport.auth_none(user)
client = paramiko.SSHClient()
client._transport = transport
sftp = client.open_sftp()
sftp.chdir(there)
with sftp.open("file", "w") as file:
    file.write("by paramiko")
sftp.symlink("file", "link")
sftp.posix_rename("file", "renamed")
print(sftp.listdir("."), sftp.readlink("link"), sftp.stat("renamed").st_size)
print(client.exec_command("echo hello")[1].read())
client.close()
"""


def _has_paramiko() -> bool:
    if not Path("/usr/bin/python3").exists():
        return False
    return LOCAL.run("/usr/bin/python3", "-c", "import paramiko", check=False).returncode == 0


@pytest.mark.skipif(not _has_paramiko(), reason="needs paramiko: see tests/packages.sh")
@shows("paramiko", "`SSHClient`, `exec_command`, `SFTPClient`")
def test_paramiko(client: Client) -> None:
    known_hosts = client.here / "known_hosts"
    known_hosts.write_bytes(client.irosh.run("identity", "export-ssh", PEER).stdout)
    proxy = shlex.join([*client.irosh.command, "proxy", PEER])
    user = getpass.getuser()
    output = ok(client.run("/usr/bin/python3", "-c", _PARAMIKO, proxy, str(known_hosts), user, str(client.there)))
    assert b"'renamed'" in output and b"file 11" in output and b"hello" in output
    assert os.readlink(client.there / "link") == "file"


_ASYNCSSH = """
import asyncio, sys, asyncssh
async def main(proxy, known_hosts, there):
    async with asyncssh.connect("box", username="-", proxy_command=proxy.split(), known_hosts=known_hosts, config=None,
                                client_keys=None) as ssh:
        async with ssh.start_sftp_client() as sftp:
            await sftp.chdir(there)
            await sftp.put("data", "one")
            await sftp.symlink("one", "link")
            await sftp.copy("one", "two", remote_only=True)
            await sftp.get("link", "back", follow_symlinks=True)
            print(sorted(await sftp.listdir(".")), (await sftp.statvfs(".")).bsize > 0)
        await asyncssh.scp("data", (ssh, there + "/three"))
asyncio.run(main(*sys.argv[1:]))
"""


@shows("AsyncSSH", "`SFTPClient`, copies on the host (`copy-data`), `scp`")
def test_asyncssh(client: Client) -> None:
    (client.here / "data").write_bytes(os.urandom(5_000_000))
    known_hosts = client.here / "known_hosts"
    known_hosts.write_bytes(client.irosh.run("identity", "export-ssh", PEER).stdout)
    proxy = " ".join([*client.irosh.command, "proxy", PEER])
    ok(client.run(sys.executable, "-c", _ASYNCSSH, proxy, str(known_hosts), str(client.there)))
    for name in ("one", "two", "three"):
        assert (client.there / name).read_bytes() == (client.here / "data").read_bytes()
    assert (client.here / "back").read_bytes() == (client.here / "data").read_bytes()
    assert os.readlink(client.there / "link") == "one"


@requires("curl")
@shows("ssh", "as VS Code does: a server started by a script on standard input, reached by `-D`")
def test_as_an_editor_uses_ssh(client: Client) -> None:
    (client.there / "served").write_text("from the host")
    socks, port = unused_port(), unused_port()
    script = f"cd {client.there} && exec python3 -m http.server --bind 127.0.0.1 {port}\n"
    with (client.here / "script").open("w+b") as file:
        file.write(script.encode())
        file.seek(0)
        process = LOCAL.popen(*shlex.split(client.remote_shell), "-T", "-D", str(socks), PEER, "sh", stdin=file)
        try:
            wait_until(lambda: listens(socks) and listens(port), what="both listen")
            url = f"http://127.0.0.1:{port}/served"
            assert ok(client.run("curl", "-sS", "--socks5-hostname", f"127.0.0.1:{socks}", url)) == b"from the host"
        finally:
            end_group(process)


# -- who may use files only


@pytest.fixture
def guest(loopback_pair: Pair, tmp_path: Path) -> Iterator[Client]:
    """A client that may use one tree, and nothing else."""
    directory = tmp_path / "guest"
    directory.mkdir()
    (directory / "there").mkdir()
    irosh = loopback_pair.add_client(tmp_path / "state", allow=[f"files:{directory / 'there'}"])
    yield _client(irosh, directory)


def test_a_guest_sees_its_tree_only(guest: Client) -> None:
    (guest.there / "file").write_text("content")
    (guest.there / "out").symlink_to("/etc/passwd")
    output = ok(guest.ssh("sftp", PEER, stdin=b"pwd\nls -1\ncd ..\npwd\nget file\n"))
    assert output.count(b"Remote working directory: /\n") == 2
    assert b"file" in output
    for path in ("../../etc/shadow", "/etc/passwd", "out", str(guest.there / "file")):
        assert guest.ssh("sftp", f"{PEER}:{path}").returncode == 1
    assert sorted(os.listdir(guest.here)) == ["file"]


@shows("scp -O", "for a peer with `files` only: by irosh's own far end, in the peer's trees")
def test_a_guest_copies_with_both_protocols(guest: Client) -> None:
    for options in ((), ("-O",)):
        (guest.here / "file").write_bytes(os.urandom(100_000))
        ok(guest.ssh("scp", *options, "-p", "file", f"{PEER}:"))
        assert (guest.there / "file").read_bytes() == (guest.here / "file").read_bytes()
        ok(guest.ssh("scp", *options, f"{PEER}:/file", "back"))
        assert (guest.here / "back").read_bytes() == (guest.here / "file").read_bytes()
        refused = guest.ssh("scp", *options, f"{PEER}:../../../../../etc/passwd", "stolen")
        assert refused.returncode == 1 and b"No such file" in refused.stderr
    assert not (guest.here / "stolen").exists()


def test_a_guest_runs_nothing(guest: Client) -> None:
    for command in ("id", "sh -c 'scp -t .'", "scp -f `id`", "scp -t .; id", "scp -f $(id)", "scp -S id -t ."):
        done = guest.ssh("ssh", PEER, command)
        assert b"uid=" not in done.stdout, command
    assert guest.ssh("ssh", PEER, "id").returncode != 0


@requires("rsync")
def test_a_guest_with_rsync_is_told_what_it_takes(guest: Client) -> None:
    done = guest.run("rsync", "-a", "-e", guest.remote_shell, f"{PEER}:/", "copy/")
    assert done.returncode != 0
    assert b"rsync runs a program on the host, which takes `exec`" in done.stderr


def test_who_may_not_use_files_is_refused(loopback_pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = _client(loopback_pair.add_client(tmp_path / "state", allow=["exec"]), tmp_path / "other")
    assert b"subsystem request failed" in other.ssh("sftp", PEER).stderr
    (other.here / "file").write_text("by exec")
    ok(other.ssh("scp", "-O", "file", f"{PEER}:{other.there}/"))


def test_uses_are_in_the_audit(loopback_pair: Pair, guest: Client) -> None:
    ok(guest.ssh("sftp", PEER, stdin=b"pwd\n"))
    (guest.here / "file").touch()
    ok(guest.ssh("scp", "-O", "file", f"{PEER}:"))
    identity = guest.irosh.call("identity", "show")["id"]
    entries = loopback_pair.host.call("audit", "--peer", identity)["entries"]
    assert {"files (sftp)", "files (scp)"} <= {entry["detail"] for entry in entries}
    assert [entry["detail"] for entry in entries if entry["outcome"] == "refused"] == [
        "exec: this peer may not use exec"
    ]


# -- other accounts, and disks that are full


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_account_has_its_own_rights(loopback_pair: Pair, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        open_to_all, private = Path(directory, "open"), Path(directory, "private")
        Path(directory).chmod(0o755)
        open_to_all.mkdir()
        open_to_all.chmod(0o777)
        private.mkdir(mode=0o700)
        (tmp_path / "other").mkdir()
        irosh = loopback_pair.add_client(tmp_path / "state", allow=["files", "user:nobody"])
        other = _client(irosh, tmp_path / "other")
        (other.here / "file").write_text("by nobody")
        for options in ((), ("-O",)):
            ok(other.ssh("scp", *options, "-oUser=nobody", "file", f"{PEER}:{open_to_all}/"))
            assert (open_to_all / "file").owner() == "nobody"
            refused = other.ssh("scp", *options, "-oUser=nobody", "file", f"{PEER}:{private}/file")
            assert refused.returncode == 1 and b"ermission denied" in refused.stderr
            (open_to_all / "file").unlink()
        assert os.listdir(private) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_is_said(client: Client) -> None:
    small = client.there / "small"
    small.mkdir()
    if LOCAL.run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small), check=False).returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        (client.here / "large").write_bytes(os.urandom(3_000_000))
        for options in ((), ("-O",)):
            done = client.ssh("scp", *options, "large", f"{PEER}:{small}/")
            assert done.returncode == 1
            assert b"No space left on device" in done.stderr or b"Failure" in done.stderr
    finally:
        LOCAL.run("umount", str(small))
