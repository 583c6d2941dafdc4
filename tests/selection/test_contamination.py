"""Runs of words that two sets of texts share, against a loop."""

import re
import unicodedata

import pytest
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


@pytest.mark.parametrize(
    ("evaluation", "text"),
    [
        ("中国的首都是北京，它有三千多年的历史", "问：中国的首都是北京它有三千多年的历史吗？"),
        ("日本の首都は東京です。とても大きい", "さて、日本の首都は東京です！とても大きい街"),
        ("กรุงเทพเป็นเมืองหลวงของประเทศไทย", "คำตอบคือกรุงเทพเป็นเมืองหลวงของประเทศไทยแน่นอน"),
        ("यह हिन्दी में एक छोटा सा वाक्य है जो तेरह शब्दों से लंबा है",
         "अच्छा, यह हिन्दी में एक छोटा सा वाक्य है जो तेरह शब्दों से लंबा है क्या"),
    ],
    ids=["Chinese", "Japanese", "Thai", "Hindi"],
)  # fmt: skip
def test_texts_in_any_script_are_found(evaluation: str, text: str) -> None:
    runs = Runs([["short", evaluation], ["短い。"]], 13)
    assert (runs.num_texts, runs.too_short) == (3, [0, 2])
    other = text.translate({ord(character): "x" for character in set(evaluation)})
    sizes, shared, whose = runs.found_in([text, unicodedata.normalize("NFD", text), other, "短い"])
    assert sizes[0] == sizes[1] > 0
    assert sizes[3] == 0
    assert shared.tolist() == [len(runs), len(runs), 0, 0]
    assert whose.tolist() == [1, 1, -1, -1]
