"""Identity: the key pair, and its public half as endpoint id."""

from __future__ import annotations

import base64
import re
import subprocess
import sys

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import assume, given
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity, parse_endpoint_id, short_id

# RFC 8032 section 7.1, tests 1 and 2: secret key, public key, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
]

seeds = st.binary(min_size=32, max_size=32)


# --- the key pair


@pytest.mark.parametrize(("secret", "public", "message", "signature"), RFC_8032)
def test_keys_and_signatures_are_those_of_rfc_8032(secret: str, public: str, message: str, signature: str) -> None:
    identity = Identity.from_secret(bytes.fromhex(secret))
    assert identity.id == public
    assert identity.public == bytes.fromhex(public)
    assert identity.sign(bytes.fromhex(message)).hex() == signature


def test_generated_identities_differ_and_their_signatures_verify() -> None:
    one, two = Identity.generate(), Identity.generate()
    assert one != two
    assert one == Identity.from_secret(one.secret)
    Ed25519PublicKey.from_public_bytes(one.public).verify(one.sign(b"hello"), b"hello")
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(two.public).verify(one.sign(b"hello"), b"hello")


def test_repr_does_not_show_the_secret() -> None:
    identity = Identity.generate()
    for text in (repr(identity), str(identity), f"{identity!a}"):
        assert identity.id in text
        assert identity.secret.hex() not in text
        assert repr(identity.secret)[2:-1] not in text


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_secret_of_another_size_is_an_error(size: int) -> None:
    with pytest.raises(ValueError):
        Identity.from_secret(bytes(size))


def test_importing_the_core_modules_loads_nothing_heavy() -> None:
    code = """
import sys
import irosh.core.identity, irosh.core.ticket, irosh.core.state
heavy = {"cryptography", "hashlib", "asyncssh", "iroh", "msgspec", "asyncio", "socket", "platformdirs"}
print(sorted(heavy & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


# --- endpoint ids


@given(seeds)
def test_every_public_key_is_read_from_hex_and_base32_in_either_case(seed: bytes) -> None:
    identity = Identity.from_secret(seed)
    base32 = base64.b32encode(identity.public).decode().rstrip("=")
    for text in (identity.id, identity.id.upper(), base32, base32.lower(), f" {identity.id}\n"):
        assert parse_endpoint_id(text) == identity.id
    assert identity.id.startswith(short_id(identity.id))
    assert len(short_id(identity.id)) == 10


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "0 characters"),
        ("ab" * 31, "62 characters"),
        ("ab" * 33, "66 characters"),
        ("d" * 63 + "x", "'x' at position 64"),
        ("\u0661" * 64, "position 1"),  # a digit, but not one of ours
        ("\u212a" * 52, "(position 1)"),
        ("a" * 51 + "1", "'1' (position 52)"),
        ("a" * 51 + "b", "position 52"),  # the last of 260 bits is set, of which only 256 are used
    ],
)
def test_what_is_no_endpoint_id_is_refused_with_the_reason(text: str, problem: str) -> None:
    with pytest.raises(IroshError, match=re.escape(problem)) as caught:
        parse_endpoint_id(text)
    assert caught.value.code == ErrorCode.UNKNOWN_TARGET
    assert caught.value.hint


# Points of order 1, 2, 4, 8 and 8; a y that is not below 2^255-19; "minus zero"; not on the curve at all.
BAD_POINTS = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "0200000000000000000000000000000000000000000000000000000000000000",
]


@pytest.mark.parametrize("text", BAD_POINTS)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(IroshError, match="no Ed25519 public key"):
        parse_endpoint_id(text)


@given(st.binary(min_size=32, max_size=32))
def test_on_curve_check_agrees_with_computing_x(encoding: bytes) -> None:
    """Decompression as RFC 8032 section 5.1.3 writes it, against the shortcut taken."""
    p = 2**255 - 19
    d = -121665 * pow(121666, -1, p) % p
    y = int.from_bytes(encoding, "little") % 2**255
    assume(y not in (0, 1, p - 1))  # of small order, and tested above
    u, v = (y * y - 1) % p, (d * y * y + 1) % p
    x = u * pow(v, 3, p) * pow(u * pow(v, 7, p), (p - 5) // 8, p) % p
    on_curve = y < p and v * x * x % p in (u, -u % p)
    try:
        parse_endpoint_id(encoding.hex())
    except IroshError:
        assert not on_curve
    else:
        assert on_curve


@given(st.text(max_size=80))
def test_arbitrary_text_as_endpoint_id_raises_nothing_else(text: str) -> None:
    with pytest.raises(IroshError):
        parse_endpoint_id(text)
