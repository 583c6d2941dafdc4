"""The simulated judge prefers prose to the same words shuffled, and these to random tokens, by every criterion."""

import base64
import pydoc_data.topics
import random
import re

import pytest
from judge_fixtures import CRITERIA
from repository import ROOT

from qurating.judging.servers.text_statistics import standardised, weighted
from qurating.judging.servers.word_order import ordered_pairs

NUM_TEXTS = 200


@pytest.fixture(scope="module")
def kinds() -> dict[str, list[dict[str, float]]]:
    """Kind -> the statistics of its texts. Prose is cut from the language reference; all others come from it."""
    draw = random.Random(0)
    topics = [text for _, text in sorted(pydoc_data.topics.topics.items()) if len(text) > 1000]
    prose: list[str] = []
    while len(prose) < NUM_TEXTS:
        topic = draw.choice(topics)
        start = draw.randrange(len(topic) - 900)
        cut = topic[start : start + draw.randrange(450, 900)]
        if sum(map(str.isalpha, cut)) > 0.85 * sum(map(len, cut.split())):  # otherwise it is code, or a table
            prose.append(cut)
    vocabulary = sorted({word for text in topics for word in re.findall(r"\S+", text)})
    texts = {
        "prose": prose,
        "shuffled prose": [" ".join(draw.sample(text.split(), len(text.split()))) for text in prose],
        "random tokens": [" ".join(draw.choices(vocabulary, k=len(text.split()))) for text in prose],
        "base64": [base64.encodebytes(draw.randbytes(len(text) * 3 // 4)).decode() for text in prose],
    }
    return {kind: [standardised(text) for text in found] for kind, found in texts.items()}


def share_of_pairs(better: list[dict[str, float]], worse: list[dict[str, float]], weights: dict[str, float]) -> float:
    one, other = ([weighted(statistics, weights) for statistics in texts] for texts in (better, worse))
    return sum((a > b) + 0.5 * (a == b) for a in one for b in other) / (len(one) * len(other))


@pytest.mark.parametrize("criterion", CRITERIA)
def test_prose_ranks_above_shuffled_prose_and_that_above_random_tokens(
    criterion: str, kinds: dict[str, list[dict[str, float]]]
) -> None:
    weights = CRITERIA[criterion]["simulated_weights"]
    steps = [("prose", "shuffled prose"), ("shuffled prose", "random tokens"), ("shuffled prose", "base64")]
    found = [share_of_pairs(kinds[better], kinds[worse], weights) for better, worse in steps]
    assert found[0] > 0.9
    assert min(found[1:]) > 0.7
    docs = (ROOT / "docs/judging.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| {criterion} \|([ \d.|]+)\|$", docs, re.MULTILINE)
    assert row, "docs/judging.md has no row for this criterion"
    assert [float(cell) for cell in row[1].split("|")] == pytest.approx(found, abs=0.03)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("the cat of the house that is in the street", 4),  # of the, that is, is in, in the
        ("of the", 1),
        ("the of", -1),
        ("it will be in a box", 4),
        ("le chat de la maison", 0),
        ("", 0),
    ],
)
def test_pairs_by_hand(text: str, pairs: int) -> None:
    assert ordered_pairs(text.split()) == pairs
