"""Numbers, formatted for people."""

import pytest

from qurating.reports.numbers import number, percent, short_count


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (short_count(987), "987"),
        (short_count(12_345), "12.3K"),
        (short_count(999_999), "1.00M"),
        (short_count(None), "–"),
        (number(4.5), "4.50"),
        (number(12345.6), "12,346"),
        (percent(-0.5), "−0.50"),
        (percent(None), "–"),
    ],
)
def test_numbers_are_written_shortly(got: str, expected: str) -> None:
    assert got == expected
