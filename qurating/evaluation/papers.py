"""What the papers report for a method at their size: `papers.csv`, each row with its table and how sure it is.

"second-hand" figures come from notes that quote the paper. Averages are over the papers' own tasks, in percent.
"""

import csv
import functools
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MEASURES = ("perplexity", "reading", "commonsense", "knowledge", "average")
_FILE = Path(__file__).with_name("papers.csv")
_SAME_SIZE = 0.01  # numbers of tokens that differ by no more are the paper's


def figures(label: str, network: Mapping[str, Any], tokens: float) -> dict[str, Any]:
    """The paper's figures for a method of this size, `paper_<measure>`, and `paper`, the source; empty if it has none.

    Args:
        label: of the method; capitals, underscores and the word "sample" do not count.
        network: settings of the language model's stage, flattened.
        tokens: that it was trained on.
    """
    shape = [network.get(f"network.{key}") for key in ("hidden_size", "num_hidden_layers")]
    for row in _table():
        same_size = math.isclose(tokens, float(row["tokens"]), rel_tol=_SAME_SIZE)
        same_shape = shape == [int(row["hidden_size"]), int(row["num_hidden_layers"])]
        if same_size and same_shape and _plain(row["method"]) == _plain(label):
            given = {f"paper_{key}": float(row[key]) for key in MEASURES if row[key]}
            return given | {"paper": f"{row['paper']}, table {row['table']}, {row['certainty']}"}
    return {}


@functools.cache
def _table() -> list[dict[str, str]]:
    with open(_FILE, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _plain(label: str) -> str:
    """`facts_and_trivia sample τ=2.0` and `facts & trivia τ = 2` are one method; top-k and a top fraction are, too."""
    words = label.lower().replace("_", " ").replace("&", "and").replace(" sample ", " ")
    words = re.sub(r"\bhighest [\d.]+", "top-k", words).replace("redpajama", "")  # SlimPajama's names of domains
    return re.sub(r"\.0\b", "", re.sub(r"\s*=\s*", "=", " ".join(words.split())))
