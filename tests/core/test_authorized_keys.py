"""``authorized_keys``: every line as sshd(8) reads it, and none that might mean something else."""

from __future__ import annotations

import base64
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.authorized_keys import (
    LineError,
    ed25519_public,
    parse_authorized_keys,
    parse_expiry,
    parse_line,
)
from irosh.core.capability import parse_capabilities
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.ssh_key import public_key_blob
from irosh.core.ssh_patterns import matches_address_list, matches_list, matches_pattern
from irosh.core.strict_file import read_strict_file
from irosh.core.terms import Terms

PUBLIC = bytes(range(32))
KEY = f"ssh-ed25519 {base64.b64encode(public_key_blob(PUBLIC)).decode()}"
GRANTED = parse_capabilities(
    ["shell", "exec", "files", "forward:tcp://127.0.0.0/8:*", "forward:unix:///run/*.sock", "listen:tcp://127.0.0.1:*"]
)


def left(options: str, granted: tuple[str, ...] | None = None) -> set[str]:
    """What a line with ``options`` leaves of what there is."""
    allowed = parse_line(f"{options} {KEY}").options.allowed
    return set(map(str, allowed.of(GRANTED if granted is None else parse_capabilities(granted))))


def test_a_key_alone_and_one_with_a_comment() -> None:
    line = parse_line(KEY)
    assert ed25519_public(line.blob) == PUBLIC
    assert (line.kind, line.comment) == ("ssh-ed25519", "")
    assert parse_line(f"{KEY} me at home").comment == "me at home"
    assert line.options.allowed.of(GRANTED) == GRANTED


@pytest.mark.parametrize(
    "line",
    [
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        f"ssh-ed25519 {base64.b64encode(public_key_blob(PUBLIC)).decode()[:-8]}",
        f"ssh-rsa {KEY.split()[1]}",
        f"ssh-dss {KEY.split()[1]}",
        f"nonsense {KEY}",
        f"no-such-option {KEY}",
        f"restrict,no-such-option {KEY}",
        f"no-restrict {KEY}",
        f"pty, {KEY}",
        f",pty {KEY}",
        f"pty,,restrict {KEY}",
        f'pty="yes" {KEY}',
        f"command {KEY}",
        f"command=ls {KEY}",
        f'command="ls {KEY}',
        f'command="ls"x {KEY}',
        f'command="ls",command="id" {KEY}',
        f'from="10.0.0.1/8" {KEY}',
        f'from="10.0.0.0/99" {KEY}',
        f'from="" {KEY}',
        f'environment="1X=y" {KEY}',
        f'environment="NAME" {KEY}',
        f'environment="=x" {KEY}',
        f'permitopen="localhost" {KEY}',
        f'permitopen="80" {KEY}',
        f'permitopen="host:http" {KEY}',
        f'permitopen="host:99999" {KEY}',
        f'permitlisten=":80" {KEY}',
        f'expiry-time="tomorrow" {KEY}',
        f'expiry-time="20261331" {KEY}',
        f'principals="a" {KEY}',
        f'cert-authority,principals="" {KEY}',
        f'restrict="x" {KEY}',
    ],
)
def test_what_sshd_would_not_take_lets_nobody_in(line: str) -> None:
    with pytest.raises(LineError):
        parse_line(line)


def test_a_file_has_comments_empty_lines_and_refused_ones() -> None:
    text = f"# mine\n\n{KEY} one\r\n  \t\nno-such-option {KEY} two\n\t{KEY} three\n"
    keys, refused = parse_authorized_keys(text)
    assert [(key.number, key.comment) for key in keys] == [(3, "one"), (6, "three")]
    assert [line.number for line in refused] == [5]
    assert "no-such-option" in refused[0].reason


def test_quotes_within_a_value() -> None:
    options = parse_line(f'Command="echo \\"a, b\\" \\\\ done",NO-PTY {KEY}').options
    assert options.command == 'echo "a, b" \\\\ done'
    assert not options.pty


def test_what_options_leave() -> None:
    forwarding = {"forward:tcp://127.0.0.0/8:*", "forward:unix:///run/*.sock", "listen:tcp://127.0.0.1:*"}
    everything = {"shell", "exec", "files"} | forwarding
    assert left("no-pty") == everything
    assert left('no-X11-forwarding,no-user-rc,tunnel="0"') == everything
    assert left("no-port-forwarding") == everything - forwarding
    assert left("restrict") == everything - forwarding
    assert left("restrict,port-forwarding,pty") == everything
    assert left('command="ls"') == everything - {"files"}
    assert left('permitopen="db.internal:5432",permitopen="10.0.0.1:*"') == (
        everything - {"forward:tcp://127.0.0.0/8:*", "forward:unix:///run/*.sock"}
    ) | {"forward:tcp://db.internal:5432", "forward:tcp://10.0.0.1:*"}
    assert left('permitopen="localhost:80"') >= {"forward:tcp://127.0.0.0/8:80", "forward:tcp://[::1]:80"}
    assert left('permitlisten="8080"') >= {"listen:tcp://127.0.0.0/8:8080", "listen:tcp://[::1]:8080"}
    assert "listen:tcp://127.0.0.1:*" not in left('permitlisten="8080"')
    assert left('permitlisten="*:8080"') >= {"listen:tcp://*:8080"}
    assert left('restrict,permitopen="localhost:80"') == {"shell", "exec", "files"}


def test_everything_is_spelled_out_before_some_of_it_is_taken_away() -> None:
    rest = left("restrict", ("all",))
    assert {"shell", "exec", "files"} <= rest
    assert not [each for each in rest if each.startswith(("all", "forward", "listen", "gateway", "vpn", "jump"))]
    assert "all" not in left('command="ls"', ("all",))
    assert "user:*" not in left('command="ls"', ("all",))


def test_sources_and_environment_and_expiry() -> None:
    options = parse_line(
        f'from="10.0.0.0/8,!10.9.0.0/16",environment="A=1",environment="B=x=y",expiry-time="20300102Z" {KEY}'
    ).options
    assert options.environment == (("A", "1"), ("B", "x=y"))
    assert options.expires_at == datetime(2030, 1, 2, tzinfo=UTC).timestamp()
    terms = Terms("", (), sources=options.sources)
    assert terms.from_here("10.1.2.3")
    assert not terms.from_here("10.9.2.3")
    assert not terms.from_here("192.0.2.1")
    assert not terms.from_here(None)
    assert Terms("", (), sources=("10.0.0.0/8,relayed",)).from_here(None)
    assert Terms("", ()).from_here(None)
    assert not Terms("", (), sources=("10.0.0.0/8", "10.1.0.0/16")).from_here("10.2.0.1")


def test_expiry_in_local_time() -> None:
    assert parse_expiry("203001021504") == datetime(2030, 1, 2, 15, 4).astimezone().timestamp()
    assert parse_expiry("20300102150405Z") == datetime(2030, 1, 2, 15, 4, 5, tzinfo=UTC).timestamp()


def test_an_authority_and_its_principals() -> None:
    options = parse_line(f'cert-authority,principals="alice,ops-*" {KEY}').options
    assert options.authority
    assert options.principals == "alice,ops-*"


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [
        ("192.168.0.7", "192.168.0.?", True),
        ("192.168.0.77", "192.168.0.?", False),
        ("host.example.org", "*.example.org", True),
        ("example.org", "*.example.org", False),
        ("", "*", True),
        ("", "?", False),
        ("a" * 1000, "*a*a*a*a*b", False),
    ],
)
def test_patterns(text: str, pattern: str, expected: bool) -> None:
    assert matches_pattern(text, pattern) is expected


def test_lists_of_patterns() -> None:
    assert matches_list("alice", "bob,al*")
    assert not matches_list("alice", "!alice,*")
    assert not matches_list("alice", "*,!al*")
    assert not matches_list("alice", "!bob")
    assert matches_address_list("2001:db8::1", "2001:db8::/32")
    assert matches_address_list("::ffff:10.0.0.1", "10.0.0.0/8")
    with pytest.raises(ValueError, match="host bits"):
        matches_address_list("10.0.0.1", "10.0.0.1/8")


@given(st.text(alphabet=st.sampled_from('ab=",\\ \tpty restrict'), max_size=60))
def test_no_text_breaks_the_parser(text: str) -> None:
    keys, refused = parse_authorized_keys(f"{text} {KEY}\n")
    assert len(keys) + len(refused) <= 1


@given(
    st.lists(
        st.sampled_from(["no-pty", "restrict", "no-port-forwarding", 'command="x"', 'permitopen="a:1"']), max_size=4
    )
)
def test_options_never_add_to_what_there_is(options: list[str]) -> None:
    prefix = ",".join(dict.fromkeys(options))
    line = parse_line(f"{prefix} {KEY}" if prefix else KEY)
    opened = set(map(str, line.options.allowed.opens or ()))
    assert set(map(str, line.options.allowed.of(GRANTED))) <= set(map(str, GRANTED)) | opened


def test_sshd_agrees_about_lines(tmp_path: Path) -> None:
    """``ssh-keygen -lf`` reads the same file, and finds the same keys."""
    file = tmp_path / "keys"
    file.write_text(f'{KEY} one\nrestrict,command="a \\"b\\"" {KEY} two\n# no\nfrom="10.0.0.0/8" {KEY} three\n')
    done = subprocess.run(["ssh-keygen", "-lf", str(file)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("no ssh-keygen")
    keys, _ = parse_authorized_keys(file.read_text())
    assert [line.split()[2] for line in done.stdout.splitlines()] == [key.comment for key in keys]


def test_a_file_that_others_can_write_is_not_read(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir(mode=0o755)
    file = directory / "keys"
    file.write_text("x")
    file.chmod(0o644)
    assert read_strict_file(file, 10)[0] == b"x"
    for path, mode, safe in ((file, 0o664, 0o644), (file, 0o646, 0o644), (directory, 0o775, 0o755)):
        path.chmod(mode)
        with pytest.raises(IroshError) as caught:
            read_strict_file(file, 10)
        assert caught.value.code is ErrorCode.KEY_UNSAFE
        path.chmod(safe)
    with pytest.raises(IroshError):
        read_strict_file(file, 0)
    with pytest.raises(IroshError):
        read_strict_file(directory, 10)
    with pytest.raises(IroshError):
        read_strict_file(directory / "none", 10)
