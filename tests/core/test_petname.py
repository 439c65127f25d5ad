"""Petnames: what a peer may be called, and what its host name makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.petname import petname_from_hostname, valid_petname

ALICE = "a1" * 32


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True))
def test_petnames_do_not_look_like_ids_or_tickets(text: str) -> None:
    is_hex = set(text.lower()) <= set("0123456789abcdef")
    is_base32 = len(text) == 52 and set(text.lower()) <= set("abcdefghijklmnopqrstuvwxyz234567")
    begins_like_a_ticket = text.lower().startswith(("irosh1", "endpoint"))
    assert valid_petname(text) == (not ((is_hex and len(text) >= 8) or is_base32 or begins_like_a_ticket))


@given(st.text(max_size=100))
def test_host_names_become_petnames_or_nothing(hostname: str) -> None:
    name = petname_from_hostname(hostname)
    assert name is None or valid_petname(name)


@pytest.mark.parametrize(
    ("hostname", "petname"),
    [
        ("build-7", "build-7"),
        ("Anna's MacBook.local", "anna-s-macbook"),
        ("web.example.com", "web"),
        ("localhost", None),
        ("localhost.localdomain", None),
        ("", None),
        ("...", None),
        (ALICE, None),
        ("deadbeef", None),
        ("irosh1evil", None),
        ("b" * 100, None),
        ("h" * 100, "h" * 63),
    ],
)
def test_petnames_from_host_names(hostname: str, petname: str | None) -> None:
    assert petname_from_hostname(hostname) == petname
