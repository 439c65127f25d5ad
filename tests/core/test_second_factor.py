"""Passwords, codes, security keys and what the store keeps of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core import security_key, totp
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.factor_store import ALL_ATTEMPTS, FREE_ATTEMPTS, LONGEST_WAIT, wait_after
from irosh.core.password import hash_password, is_password_hash, matches
from irosh.core.second_factor import Factor, binding, parse_factors
from irosh.core.trust import TrustStore
from tests.support.soft_key import SoftKey

PEER, OTHER = "ab" * 32, "cd" * 32


def test_a_password_matches_itself_only() -> None:
    phc = hash_password("correct horse")
    assert phc.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert is_password_hash(phc)
    assert matches("correct horse", phc)
    assert not matches("Correct horse", phc)
    assert not matches("", phc)
    assert not matches("x" * 2000, phc)
    assert hash_password("correct horse") != phc


def test_the_same_letter_typed_elsewhere_is_the_same_password() -> None:
    assert matches("cafe\u0301 au lait", hash_password("caf\u00e9 au lait"))


@pytest.mark.parametrize("password", ["", "short", "x" * 1025])
def test_impossible_passwords_are_refused(password: str) -> None:
    with pytest.raises(IroshError) as caught:
        hash_password(password)
    assert caught.value.code is ErrorCode.USAGE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "correct horse",
        "$argon2i$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$" + "A" * 43,
        "$argon2id$v=19$m=99999999,t=2,p=1$c29tZXNhbHQ$" + "A" * 43,
        "$argon2id$v=19$m=19456,t=200,p=1$c29tZXNhbHQ$" + "A" * 43,
    ],
)
def test_what_is_no_hash_of_ours_matches_nothing(text: str) -> None:
    assert not is_password_hash(text)
    assert not matches("correct horse", text)


# RFC 6238, appendix B: SHA-1; the last six of its eight digits.
@pytest.mark.parametrize(
    ("now", "code"),
    [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (2000000000, "279037"), (20000000000, "353130")],
)
def test_the_vectors_of_rfc_6238(now: int, code: str) -> None:
    secret = b"12345678901234567890"
    step = totp.step_at(now)
    assert totp.code_for(secret, step) == code
    for later in (-30, 0, 30):
        assert totp.matching_step(secret, code, now + later, after=0) == step
    assert totp.matching_step(secret, code, now + 60, after=0) is None
    assert totp.matching_step(secret, code, now - 61, after=0) is None


def test_a_used_code_and_those_before_it_are_used_up() -> None:
    secret, now = b"12345678901234567890", 1_234_567_890.0
    step = totp.step_at(now)
    for used in (step, step + 1):
        assert totp.matching_step(secret, totp.code_for(secret, step), now, after=used) is None
    assert totp.matching_step(secret, totp.code_for(secret, step + 1), now, after=step) == step + 1


@given(st.text(max_size=40))
def test_no_text_but_a_code_matches(text: str) -> None:
    secret, now = b"12345678901234567890", 1_234_567_890.0
    codes = {totp.code_for(secret, totp.step_at(now) + shift) for shift in (-1, 0, 1)}
    assert (totp.matching_step(secret, text, now, after=0) is not None) == ("".join(text.split()) in codes)


def test_a_new_secret_is_read_back_however_it_is_written() -> None:
    text = totp.new_secret()
    secret = totp.decode_secret(text)
    assert len(secret) == totp.SECRET_SIZE
    spaced = " ".join(text[start : start + 4] for start in range(0, len(text), 4)).lower()
    assert totp.decode_secret(spaced) == secret
    uri = totp.provisioning_uri(text, account="my laptop", issuer="irosh box")
    assert uri.startswith(f"otpauth://totp/irosh%20box:my%20laptop?secret={text}&issuer=irosh%20box&")


@pytest.mark.parametrize("text", ["", "AAAA", "0189", "ü" * 32, "A" * 1000])
def test_what_is_no_secret(text: str) -> None:
    with pytest.raises(ValueError, match=r"base32|bytes"):
        totp.decode_secret(text)


def test_the_factors_are_asked_for_in_one_order() -> None:
    assert parse_factors(["security-key", "password", "password"]) == (Factor.PASSWORD, Factor.SECURITY_KEY)
    with pytest.raises(IroshError) as caught:
        parse_factors(["pasword"])
    assert caught.value.hint == "did you mean 'password'?"


def test_an_answer_is_bound_to_challenge_identities_and_kind() -> None:
    one = binding(b"n" * 32, PEER, OTHER, Factor.PASSWORD)
    others = {
        binding(b"m" * 32, PEER, OTHER, Factor.PASSWORD),
        binding(b"n" * 32, OTHER, PEER, Factor.PASSWORD),
        binding(b"n" * 32, PEER, PEER, Factor.PASSWORD),
        binding(b"n" * 32, PEER, OTHER, Factor.TOTP),
    }
    assert len(others) == 4
    assert one not in others


# Security keys


@pytest.fixture(params=["ed25519", "ecdsa"])
def key(request: pytest.FixtureRequest) -> SoftKey:
    return SoftKey(request.param)


def test_a_signature_says_flags_and_counter(key: SoftKey) -> None:
    signature = key.sign(b"message", flags=5, counter=9)
    assert security_key.verify(key.public, b"message", signature) == security_key.Assertion(5, 9)
    assert security_key.verify(key.public, b"another", signature) is None
    for other in (SoftKey("ed25519"), SoftKey("ecdsa")):
        assert security_key.verify(other.public, b"message", signature) is None


def test_a_signature_that_was_touched_up_is_none(key: SoftKey) -> None:
    signature = key.sign(b"message", flags=0)
    for position in range(len(signature)):
        changed = bytearray(signature)
        changed[position] ^= 1
        assert security_key.verify(key.public, b"message", bytes(changed)) is None
    for end in range(len(signature)):
        assert security_key.verify(key.public, b"message", signature[:end]) is None
    assert security_key.verify(key.public, b"message", signature + b"\0") is None


@given(st.binary(max_size=200))
def test_no_bytes_break_the_verification(data: bytes) -> None:
    assert security_key.verify(SoftKey("ed25519").public, b"message", data) is None


def test_the_verification_agrees_with_asyncssh(key: SoftKey) -> None:
    import asyncssh

    signature = key.sign(b"message")
    assert asyncssh.import_public_key(key.public.line).verify(b"message", signature)
    assert security_key.verify(key.public, b"message", signature) is not None


def test_a_public_key_line_is_read_back(key: SoftKey) -> None:
    line = key.public.line
    assert security_key.parse_security_key(f"{line} me@here") == key.public
    assert list(security_key.security_keys_in(f"# mine\n\n{line}\n")) == [key.public]
    kinds = (security_key.ED25519, security_key.ECDSA)
    for wrong in ("", "ssh-ed25519 AAAA", f"{kinds[0]} AAAA", f"{kinds[1]} {line.split()[1]}x"):
        with pytest.raises(IroshError):
            security_key.parse_security_key(wrong)


# The store


@pytest.fixture
def clock() -> list[float]:
    return [1_000_000.0]


@pytest.fixture
def trust(tmp_path: Path, clock: list[float]) -> TrustStore:
    store = TrustStore(tmp_path / "irosh.db", clock=lambda: clock[0])
    store.pin(PEER, petname="laptop", origin="manual")
    return store


def test_what_is_required_is_kept_until_the_peer_is_forgotten(trust: TrustStore) -> None:
    factors = trust.factors
    assert factors.required(PEER) == ()
    factors.require(PEER, [Factor.TOTP, Factor.PASSWORD])
    factors.enrol(PEER, Factor.TOTP, totp.new_secret())
    factors.begin_attempt(PEER)
    assert factors.required(PEER) == (Factor.PASSWORD, Factor.TOTP)
    trust.remove(PEER)
    assert (factors.required(PEER), factors.enrolments(PEER), factors.failures(PEER).count) == ((), [], 0)


def test_a_counter_never_goes_back(trust: TrustStore) -> None:
    factors = trust.factors
    factors.enrol(PEER, Factor.SECURITY_KEY, "key", key="SHA256:x", conditions=["verify"])
    (enrolment,) = factors.enrolments(PEER)
    assert factors.use(PEER, enrolment, 0)
    assert factors.use(PEER, enrolment, 0)  # an authenticator without a counter
    assert factors.use(PEER, enrolment, 5)
    assert not factors.use(PEER, enrolment, 5)
    assert not factors.use(PEER, enrolment, 4)
    assert not factors.use(PEER, enrolment, 0)
    assert factors.use(PEER, enrolment, 6)


def test_an_enrolment_made_anew_meanwhile_is_another(trust: TrustStore, clock: list[float]) -> None:
    factors = trust.factors
    factors.enrol(PEER, Factor.TOTP, totp.new_secret())
    (before,) = factors.enrolments(PEER)
    clock[0] += 1
    factors.enrol(PEER, Factor.TOTP, totp.new_secret())
    assert not factors.use(PEER, before, 10)


def test_failures_are_counted_waited_for_and_forgotten(trust: TrustStore, clock: list[float], tmp_path: Path) -> None:
    factors = trust.factors
    for number in range(1, 9):
        factors.begin_attempt(PEER)
        assert factors.failures(PEER).count == number
        assert factors.failures(PEER).wait == wait_after(number)
    clock[0] += wait_after(8) - 1
    assert factors.failures(PEER).wait == pytest.approx(1)
    with TrustStore(tmp_path / "irosh.db", clock=lambda: clock[0]) as again:
        assert again.factors.failures(PEER).count == 8
    clock[0] -= 1e6  # a clock set back does not lock anybody out for long
    assert factors.failures(PEER).wait == wait_after(8)
    factors.unlock(PEER)
    assert (factors.failures(PEER).count, factors.failures(PEER).wait) == (0, 0.0)


def test_the_wait_doubles_up_to_a_limit() -> None:
    waits = [wait_after(failures) for failures in range(1, 40)]
    assert waits[: FREE_ATTEMPTS + 3] == [0.0] * FREE_ATTEMPTS + [1.0, 2.0, 4.0]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_WAIT


def test_failures_of_all_peers_together_are_limited(trust: TrustStore, clock: list[float]) -> None:
    for number in range(ALL_ATTEMPTS):
        assert trust.factors.all_wait() == 0
        trust.factors.begin_attempt(f"{number:064x}")
    assert trust.factors.all_wait() > 0
    clock[0] += 601
    assert trust.factors.all_wait() == 0


def test_an_invite_requires_factors_of_whom_it_lets_in(trust: TrustStore) -> None:
    secret = trust.create_invite([], factors=[Factor.PASSWORD])
    trust.redeem_invite(secret, OTHER)
    assert trust.factors.required(OTHER) == (Factor.PASSWORD,)
    trust.factors.require(PEER, [Factor.TOTP])
    trust.redeem_invite(trust.create_invite([], factors=[Factor.PASSWORD]), PEER)
    assert trust.factors.required(PEER) == (Factor.PASSWORD, Factor.TOTP)
    trust.redeem_invite(trust.create_invite([]), PEER)
    assert trust.factors.required(PEER) == (Factor.PASSWORD, Factor.TOTP)
