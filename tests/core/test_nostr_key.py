"""Nostr keys: derived, read from a file, and their text form."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core import bech32
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.nostr_key import NostrKey, format_npub, is_public, is_secret, parse_npub

# The examples of NIP-19.
NPUB = "npub180cvv07tjdrrgpa0j7j7tmnyl2yr6yr7l8j4s3evf6u64th6gkwsyjh6w6"
NPUB_HEX = "3bf0c63fcb93463407af97a5e5ee64fa883d107ef9e558472c4eb9aaaefa459d"
NSEC = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5"
NSEC_HEX = "67dea2ed018072d675f5415ecfaed7d2597555e202d85b3d65ea4e58d2d92ffa"

ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141


def _file(path: Path, content: str, mode: int = 0o600) -> Path:
    path.write_text(content)
    path.chmod(mode)
    return path


def _refused(path: Path) -> IroshError:
    with pytest.raises(IroshError) as error:
        NostrKey.load(path)
    return error.value


def test_the_examples_of_the_specification() -> None:
    assert parse_npub(NPUB).hex() == NPUB_HEX
    assert format_npub(bytes.fromhex(NPUB_HEX)) == NPUB
    assert bech32.decode("nsec", NSEC).hex() == NSEC_HEX


def test_the_public_key_is_what_nostr_says_it_is() -> None:
    import nostr_sdk

    for number in range(8):
        key = NostrKey.derive(Identity.from_secret(bytes((number,)) * 32).secret)
        other = nostr_sdk.Keys.parse(key.secret.hex())
        assert key.public.hex() == other.public_key().to_hex()
        assert key.npub == other.public_key().to_bech32()


def test_the_derived_key_stays_what_it_is() -> None:
    # A change would make every host unknown to the peers that have its npub.
    derived = NostrKey.derive(bytes(range(32)))
    assert derived.npub == "npub1shg4zzffp2dyyru32hqzyyc5c36tun24fpr8urtd56drufk9h9aqr6qrz4"


@given(st.binary(min_size=32, max_size=32))
def test_each_identity_has_one_key_of_its_own(secret: bytes) -> None:
    key = NostrKey.derive(secret)
    assert key == NostrKey.derive(secret)
    assert key.secret != secret
    assert is_secret(key.secret)
    assert is_public(key.public)
    assert parse_npub(key.npub) == key.public
    assert key.secret.hex() not in repr(key)


@pytest.mark.parametrize(
    ("number", "valid"), [(0, False), (1, True), (ORDER - 1, True), (ORDER, False), (2**256 - 1, False)]
)
def test_scalars_at_the_edges(number: int, valid: bool) -> None:
    secret = number.to_bytes(32, "big")
    assert is_secret(secret) is valid
    if not valid:
        with pytest.raises(ValueError, match="no secp256k1 secret"):
            NostrKey(secret)


@pytest.mark.parametrize("content", [NSEC, NSEC.upper(), NSEC_HEX, NSEC_HEX.upper(), f"\n  {NSEC}\r\n"])
def test_a_key_of_ones_own(tmp_path: Path, content: str) -> None:
    assert NostrKey.load(_file(tmp_path / "nsec", content)).secret.hex() == NSEC_HEX


@pytest.mark.parametrize(
    "content", ["", "\n", NPUB, NSEC[:-1], NSEC[:-1] + "q", NSEC_HEX[:-2], "00" * 32, "zz" * 32, "é" * 64, NSEC + NSEC]
)
def test_files_without_a_key(tmp_path: Path, content: str) -> None:
    error = _refused(_file(tmp_path / "nsec", content))
    assert error.code is ErrorCode.KEY_INVALID
    assert not content.strip() or content.strip() not in str(error)


def test_unsafe_files_are_refused(tmp_path: Path) -> None:
    open_to_all = _file(tmp_path / "open", NSEC, 0o644)
    assert _refused(open_to_all).code is ErrorCode.KEY_UNSAFE
    link = tmp_path / "link"
    link.symlink_to(_file(tmp_path / "nsec", NSEC))
    assert _refused(link).code is ErrorCode.KEY_UNSAFE
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    assert _refused(fifo).code is ErrorCode.KEY_INVALID
    assert _refused(tmp_path / "missing").code is ErrorCode.KEY_INVALID


@given(st.binary(min_size=32, max_size=32))
def test_bech32_round_trip(data: bytes) -> None:
    text = bech32.encode("npub", data)
    assert bech32.decode("npub", text) == bech32.decode("npub", text.upper()) == data


@given(st.binary(min_size=32, max_size=32), st.integers(5, 62), st.sampled_from(bech32.ALPHABET))
def test_one_wrong_character_is_noticed(data: bytes, index: int, character: str) -> None:
    text = bech32.encode("npub", data)
    wrong = text[:index] + character + text[index + 1 :]
    if wrong != text:
        with pytest.raises(bech32.Bech32Error):
            bech32.decode("npub", wrong)


@given(st.text(max_size=80) | st.text(bech32.ALPHABET, min_size=58, max_size=58).map("npub1".__add__))
def test_arbitrary_text_is_no_npub(text: str) -> None:
    try:
        assert format_npub(parse_npub(text)) == text.strip().lower()
    except IroshError as error:
        assert error.code is ErrorCode.UNKNOWN_TARGET


def test_half_of_all_numbers_are_no_key() -> None:
    # x = 5 is on no point of the curve.
    with pytest.raises(IroshError, match="no Nostr key"):
        parse_npub(format_npub((5).to_bytes(32, "big")))
