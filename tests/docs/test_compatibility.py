"""The table of compatibility is that of the tests."""

from __future__ import annotations

from tests.support.compatibility import rows, table, without_versions, written


def test_the_table_is_what_the_tests_show() -> None:
    remedy = "python -m tests.support.compatibility"
    assert without_versions(written()) == without_versions(table(lambda program: "-")), remedy


def test_no_row_is_there_twice() -> None:
    listed = list(rows())
    assert len(listed) == len(set(listed)) > 10
