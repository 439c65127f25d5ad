"""Durations as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.durations import LONGEST, format_duration, parse_duration
from irosh.core.errors import ErrorCode, IroshError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45s", 45),
        ("10m", 600),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("1w", 604_800),
        ("90", 90),
        ("0.5", 0.5),
        ("1.5h", 5400),
        ("1d2h3m4s", 93_784),
        ("0h5m", 300),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "s",
        "1x",
        "1m1h",
        "1h1h",
        "1h 30m",
        "-5s",
        "+5",
        "0",
        "0s",
        "0m0s",
        "1e3",
        "inf",
        "nan",
        ".5",
        "1.",
        "1H",
        "99999999999w",
        "101w99999999999d",
        "9" * 5000,
        "1s\n",
        "\N{ARABIC-INDIC DIGIT ONE}s",
        "1_000",
    ],
)
def test_what_is_not_a_duration(text: str) -> None:
    with pytest.raises(IroshError) as caught:
        parse_duration(text)
    assert caught.value.code == ErrorCode.USAGE
    assert caught.value.hint
    assert len(str(caught.value)) < 300


@given(st.integers(1, int(LONGEST * 1_000_000)))
def test_the_written_form_reads_back(micros: int) -> None:
    assert round(parse_duration(format_duration(micros / 1_000_000)) * 1_000_000) == micros


@pytest.mark.parametrize(
    ("seconds", "text"), [(3600, "1h"), (90, "1m30s"), (0.25, "0.25s"), (604_800, "1w"), (86_400.5, "1d0.5s")]
)
def test_the_written_form(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.one_of(st.text(max_size=20), st.from_regex(r"([0-9.]{1,4}[wdhms]){1,4}", fullmatch=True)))
def test_any_text_is_a_duration_or_an_irosh_error(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except IroshError as error:
        assert error.code == ErrorCode.USAGE
    else:
        assert 0 < seconds <= LONGEST
