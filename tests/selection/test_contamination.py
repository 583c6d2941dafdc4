"""Runs of words that two sets of texts share, against a loop."""

import re

from hypothesis import given
from hypothesis import strategies as st

from qurating.selection.contamination import Runs, in_parts

SHORT = st.lists(st.text(st.sampled_from("ab. "), max_size=14), max_size=6)


@given(SHORT, SHORT, st.integers(1, 4), st.integers(1, 3))
def test_shared_runs_are_those_of_a_loop(evaluation: list[str], texts: list[str], num_words: int, size: int) -> None:
    def runs(text: str) -> list[tuple[str, ...]]:
        words = re.findall(r"\w+", text)
        return [tuple(words[i : i + num_words]) for i in range(len(words) - num_words + 1)]

    known: dict[tuple[str, ...], int] = {}
    for place, text in enumerate(evaluation):
        for run in runs(text):
            known.setdefault(run, place)
    own = Runs(in_parts(evaluation, size), num_words)
    assert (len(own), own.num_texts) == (len(known), len(evaluation))
    sizes, shared, whose = own.found_in(texts)
    assert sizes.tolist() == [len(runs(text)) for text in texts]
    assert shared.tolist() == [sum(run in known for run in runs(text)) for text in texts]
    first = [next((known[run] for run in runs(text) if run in known), -1) for text in texts]
    assert whose.tolist() == first
