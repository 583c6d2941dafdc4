"""The worked examples in docstrings hold."""

import doctest
from pathlib import Path

from qurating.corpus import token_reader
from qurating.selection import cutoff


def test_taking_the_highest_keys() -> None:
    found = doctest.testmod(cutoff)
    assert found.attempted
    assert not found.failed


def test_reading_a_corpus_in_the_tokens_of_a_network(tmp_path: Path) -> None:
    found = doctest.testmod(token_reader, extraglobs={"corpus": tmp_path})
    assert found.attempted
    assert not found.failed
