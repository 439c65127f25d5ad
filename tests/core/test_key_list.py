"""Files of public keys."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.key_list import parse_key_list

LINES = [Identity.from_secret(bytes([number]) * 32).openssh_public_key("a comment") for number in (1, 2)]


def _digest(line: str) -> bytes:
    return hashlib.sha256(base64.b64decode(line.split()[1])).digest()


def test_each_key_once() -> None:
    text = f"# keys\n\n{LINES[0]}\r\n  {LINES[1]}\n{LINES[0].rsplit(' ', 2)[0]}\n"
    assert parse_key_list(text) == (_digest(LINES[0]), _digest(LINES[1]))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (f'from="10.0.0.0/8" {LINES[0]}', "begins with 'from="),
        (f"restrict {LINES[0]}", "begins with 'restrict'"),
        ("ssh-ed25519", "holds no 'ssh-ed25519' key"),
        ("ssh-ed25519 AAAA", "holds no"),
        (LINES[0].replace("ssh-ed25519", "ssh-rsa", 1), "holds no"),
        (LINES[0].replace("AAAA", "!!!!", 1), "holds no"),
        ("ssh-ed25519-cert-v01@openssh.com AAAA", "certificate"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "which is no type of key"),
    ],
)
def test_what_is_no_key_is_named_by_its_line(line: str, problem: str) -> None:
    with pytest.raises(IroshError, match=problem) as failure:
        parse_key_list(f"{LINES[1]}\n{line}\n")
    assert failure.value.code is ErrorCode.USAGE
    assert "line 2" in failure.value.message


@given(st.text(max_size=300))
def test_any_text_is_keys_or_an_error(text: str) -> None:
    try:
        assert all(len(digest) == 32 for digest in parse_key_list(text))
    except IroshError as error:
        assert error.code is ErrorCode.USAGE
