"""JSON in a script element: nothing in it can end the element, and it means what was written."""

import json
import math

from qurating.reports.rated.safe_json import dumps

HOSTILE = "</script><!--<script>&amp;\u2028\u2029\ud800\x00\u202e\U0001f600é"


def test_what_could_be_markup_is_escaped_and_read_back_the_same() -> None:
    text = dumps({HOSTILE: [HOSTILE, 1, None, True]})
    assert not set(text) & set("<>&\u2028\u2029\ud800\x00")
    assert "é" in text  # letters are not made longer than needed
    assert text.encode("utf-8")
    assert json.loads(text) == {HOSTILE: [HOSTILE, 1, None, True]}


def test_numbers_that_json_does_not_have() -> None:
    assert json.loads(dumps({"a": math.nan, "b": [math.inf, (-math.inf, 0.5)]})) == {
        "a": None,
        "b": ["inf", ["-inf", 0.5]],
    }
