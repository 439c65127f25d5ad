"""Offer and answer blocks: what pasting does to them, what breaks them, good ones in the wrong place."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from irosh.core.armor import LINE, armor, find_blocks, is_complete
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.offer_block import (
    CLOCK_SKEW,
    Answer,
    Offer,
    encode_answer,
    encode_offer,
    read_answer,
    read_offer,
)

HOST = Identity.from_secret(bytes(range(32)))
CLIENT = Identity.from_secret(bytes(range(1, 33)))
OTHER = Identity.from_secret(bytes(range(2, 34)))
NOW = 1_800_000_000
OFFER = Offer("custom", HOST.id, NOW + 600, b"candidates" * 20, b"i" * 16, b"n" * 16)
ANSWER = Answer("custom", CLIENT.id, NOW + 600, b"answering", OFFER.digest, HOST.id, b"m" * 16)
OFFER_TEXT = encode_offer(OFFER, HOST)
ANSWER_TEXT = encode_answer(ANSWER, CLIENT)


def read_as_client(text: str, *, mode: str = "custom", now: float = NOW, sender: str | None = None) -> Offer:
    return read_offer(text, mode=mode, own=CLIENT.id, now=now, sender=sender)


def read_as_host(text: str, *, to: Offer = OFFER, now: float = NOW) -> Answer:
    return read_answer(text, to=to, now=now)


def refused(text: str, **options: object) -> IroshError:
    """What a client says to ``text`` in place of an offer."""
    with pytest.raises(IroshError) as caught:
        read_as_client(text, **options)  # type: ignore[arg-type]
    assert caught.value.hint
    return caught.value


def refused_by_host(text: str, **options: object) -> IroshError:
    """What a host says to ``text`` in place of an answer."""
    with pytest.raises(IroshError) as caught:
        read_as_host(text, **options)  # type: ignore[arg-type]
    assert caught.value.hint
    return caught.value


identities = st.binary(min_size=32, max_size=32).map(Identity.from_secret)
modes = st.sampled_from(["custom", "iroh-manual"])
times = st.integers(0, 2**40)
bodies = st.binary(max_size=2000)


@given(identities, modes, times, bodies, st.none() | st.binary(min_size=16, max_size=16))
def test_an_offer_comes_back(host: Identity, mode: str, expires: int, body: bytes, invite: bytes | None) -> None:
    offer = Offer(mode, host.id, expires, body, invite)
    text = encode_offer(offer, host)
    found = read_offer(text, mode=mode, own="0" * 64, now=expires, sender=host.id)
    assert found == offer
    assert found.digest == offer.digest
    assert all(len(line) <= LINE for line in text.splitlines())


@given(identities, bodies, times)
def test_an_answer_comes_back(client: Identity, body: bytes, expires: int) -> None:
    offer = replace(OFFER, expires_at=expires)
    answer = Answer("custom", client.id, expires, body, offer.digest, HOST.id)
    assert read_answer(encode_answer(answer, client), to=offer, now=expires) == answer


def test_secrets_are_not_shown() -> None:
    for shown in (repr(OFFER), str(OFFER), repr(ANSWER), repr(find_blocks(OFFER_TEXT))):
        assert "iiii" not in shown
        assert "candidates" not in shown
        assert "answering" not in shown


# --- what pasting does


@st.composite
def pasted(draw: st.DrawFn, text: str) -> str:
    """``text`` as programs and people hand it on."""
    lines = text.split("\n")
    body = "".join(lines[1:-1])
    width = draw(st.integers(1, 200))
    lines = [lines[0], *(body[start : start + width] for start in range(0, len(body), width)), lines[-1]]
    if draw(st.booleans()):
        lines = [line.lower() if line.startswith("-") else line for line in lines]
    prefix = draw(st.sampled_from(["", "> ", ">> ", ">", "    ", "\t", "| ", "> > "]))
    end = draw(st.sampled_from(["\n", "\r\n", "\n\n", " \n", "\u200b\n", "\r"]))
    before = draw(st.sampled_from(["", "Hello,\nhere it is:\n", "\ufeff", "$ cat offer\n", "-- \n"]))
    after = draw(st.sampled_from(["", "\n", "\n-- \nBob", "\nregards =>", "\n\u00ad"]))
    return before + end.join(prefix + line for line in lines) + after


@given(st.data())
def test_what_pasting_adds_is_ignored(data: st.DataObject) -> None:
    text = data.draw(pasted(OFFER_TEXT))
    assert read_as_client(text) == OFFER
    assert is_complete(text)
    assert read_as_host(data.draw(pasted(ANSWER_TEXT))) == ANSWER


def test_a_marker_that_was_wrapped_or_beautified_is_found() -> None:
    assert read_as_client(OFFER_TEXT.replace("BEGIN IROSH ", "BEGIN\n> IROSH\n> ")) == OFFER
    assert read_as_client(OFFER_TEXT.replace("-----", "\u2014\u2014-")) == OFFER


def test_the_last_block_counts_and_others_are_passed_over() -> None:
    newer = replace(OFFER, nonce=b"x" * 16)
    assert read_as_client("\n".join([OFFER_TEXT, encode_offer(newer, HOST)])) == newer
    assert read_as_client("\n".join([OFFER_TEXT, ANSWER_TEXT])) == OFFER
    assert read_as_host("\n".join([ANSWER_TEXT, "> " + OFFER_TEXT.replace("\n", "\n> ")])) == ANSWER


def test_a_reader_of_lines_knows_when_to_stop() -> None:
    lines = OFFER_TEXT.splitlines(keepends=True)
    assert [is_complete("".join(lines[:count])) for count in range(len(lines) + 1)] == [False] * len(lines) + [True]


# --- what breaks them


@settings(max_examples=400)
@given(st.integers(0, len(OFFER_TEXT) - 1), st.characters())
@example(0, "\n")
def test_every_altered_character_is_noticed_or_harmless(position: int, character: str) -> None:
    altered = OFFER_TEXT[:position] + character + OFFER_TEXT[position + 1 :]
    try:
        assert read_as_client(altered) == OFFER
    except IroshError as error:
        assert error.code is ErrorCode.INVALID_BLOCK
    else:
        inside = OFFER_TEXT.index("\n") < position < OFFER_TEXT.rindex("\n")
        assert not inside or OFFER_TEXT[position] in f"{character}\n="


def test_every_base64_character_matters() -> None:
    start, end = OFFER_TEXT.index("\n"), OFFER_TEXT.rindex("\n")
    for position in range(start, end):
        if OFFER_TEXT[position] not in "\n=":
            other = "B" if OFFER_TEXT[position] == "A" else "A"
            error = refused(OFFER_TEXT[:position] + other + OFFER_TEXT[position + 1 :])
            assert error.code is ErrorCode.INVALID_BLOCK


@given(st.integers(0, len(OFFER_TEXT) - 1))
def test_cut_short(size: int) -> None:
    # All that may be missing is a part of the last row of dashes.
    if OFFER_TEXT[:size].rstrip("-").endswith("END IROSH OFFER") and OFFER_TEXT[:size].endswith("-"):
        assert read_as_client(OFFER_TEXT[:size]) == OFFER
    else:
        assert refused(OFFER_TEXT[:size]).code is ErrorCode.INVALID_BLOCK


@given(st.integers(1, len(OFFER_TEXT) - 40))
def test_beginning_cut_off(size: int) -> None:
    if size > 4:
        assert refused(OFFER_TEXT[size:]).code is ErrorCode.INVALID_BLOCK


def test_a_missing_line_is_called_cut_short() -> None:
    lines = OFFER_TEXT.splitlines()
    assert "cut short" in refused("\n".join([*lines[:3], *lines[4:]])).message
    assert "END line" in refused("\n".join(lines[:-1])).message
    assert "BEGIN line" in refused("\n".join(lines[1:])).message


@given(st.text(max_size=500))
def test_any_other_text_is_refused(text: str) -> None:
    assert refused(text).code is ErrorCode.INVALID_BLOCK


@given(st.binary(max_size=300))
def test_any_other_bytes_in_a_block_are_refused(data: bytes) -> None:
    assert refused(armor("OFFER", data)).code in (ErrorCode.INVALID_BLOCK, ErrorCode.BLOCK_VERSION)


def test_too_long_a_text_is_refused() -> None:
    assert "characters" in refused("x" * 300_000 + OFFER_TEXT).message


def test_a_forged_signature_is_refused() -> None:
    import hashlib

    sealed = bytearray(find_blocks(OFFER_TEXT)[0].data()[:-4])
    sealed[-1] ^= 1
    checksum = hashlib.sha256(b"irosh block\0" + sealed).digest()[:4]
    assert "forged" in refused(armor("OFFER", bytes(sealed) + checksum)).message


def test_a_newer_version_is_named() -> None:
    import hashlib

    sealed = b"\x02" + find_blocks(OFFER_TEXT)[0].data()[1:-4]
    checksum = hashlib.sha256(b"irosh block\0" + sealed).digest()[:4]
    error = refused(armor("OFFER", sealed + checksum))
    assert error.code is ErrorCode.BLOCK_VERSION
    assert "upgrade irosh on this machine" in error.hint


# --- good ones in the wrong place


def test_an_expired_block_says_so() -> None:
    error = refused(OFFER_TEXT, now=NOW + 600 + 3600)
    assert error.code is ErrorCode.BLOCK_EXPIRED
    assert "1h ago" in error.message
    assert read_as_client(OFFER_TEXT, now=NOW + 600 + CLOCK_SKEW) == OFFER
    assert refused_by_host(ANSWER_TEXT, now=NOW + 1200).code is ErrorCode.BLOCK_EXPIRED


def test_an_answer_to_another_offer() -> None:
    error = refused_by_host(ANSWER_TEXT, to=replace(OFFER, nonce=b"x" * 16))
    assert error.code is ErrorCode.BLOCK_MISMATCH
    assert "earlier offer" in error.message
    theirs = Offer("custom", OTHER.id, NOW + 600, b"")
    assert "another host's" in refused_by_host(ANSWER_TEXT, to=theirs).message


def test_another_mode() -> None:
    error = refused(OFFER_TEXT, mode="iroh-manual")
    assert error.code is ErrorCode.BLOCK_MISMATCH
    assert "'custom'" in error.message
    assert "--mode iroh-manual" in error.hint


def test_own_blocks_pasted_back() -> None:
    with pytest.raises(IroshError, match="own OFFER"):
        read_offer(OFFER_TEXT, mode="custom", own=HOST.id, now=NOW)
    assert "own OFFER" in refused_by_host(OFFER_TEXT).message
    assert "own ANSWER" in refused(ANSWER_TEXT).message


def test_the_other_kind() -> None:
    theirs = encode_offer(Offer("custom", OTHER.id, NOW + 600, b""), OTHER)
    assert re.search("is an OFFER, an ANSWER is wanted", refused_by_host(theirs).message)
    other_answer = encode_answer(replace(ANSWER, sender=OTHER.id), OTHER)
    assert re.search("is an ANSWER, an OFFER is wanted", refused(other_answer).message)
    # With the markers exchanged by hand as well.
    assert "wanted" in refused(other_answer.replace("ANSWER-", "OFFER-")).message


def test_a_foreign_sender() -> None:
    error = refused(OFFER_TEXT, sender=OTHER.id)
    assert error.code is ErrorCode.IDENTITY_MISMATCH
    assert HOST.id[:10] in error.message
