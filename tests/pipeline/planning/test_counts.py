"""Numbers that may be unknown."""

import pytest

from qurating.pipeline.planning.counts import Counts, UnknownError


def test_a_missing_number_says_why() -> None:
    counts = Counts({"tokens": 5}, "the vocabulary of lab/one is not known")
    assert counts.need("tokens") == 5
    with pytest.raises(UnknownError, match="vocabulary of lab/one"):
        counts.need("vocabulary")
    with pytest.raises(UnknownError, match="number of pairs"):
        Counts({}).need("pairs")
