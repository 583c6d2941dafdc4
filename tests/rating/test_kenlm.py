"""N-gram models by KenLM."""

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from baselines_example import measured
from scorer_fixtures import corpus_of_paragraphs

from qurating.rating import kenlm
from qurating.runtime.errors import StageError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus_of_paragraphs(tmp_path_factory.mktemp("corpus"), num_paragraphs=60)


ARPA = """\\data\\
ngram 1=5
ngram 2=2

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.5
-0.7\t</s>
-0.4\ta\t-0.3
-0.9\tb\t-0.2

\\2-grams:
-0.25\t<s> a
-0.125\ta b

\\end\\
"""


@pytest.mark.skipif(importlib.util.find_spec("kenlm") is None, reason="needs the package kenlm (built in 100 s)")
def test_an_ngram_model_gives_the_numbers_of_its_table(tmp_path: Path, corpus: Path) -> None:
    file = tmp_path / "x.arpa"
    file.write_text(ARPA)
    found = kenlm.log_perplexities(["A b", "", "z"], file, lower_case=True)
    bits = [-0.25 - 0.125 - 0.2 - 0.7, -0.5 - 0.7, -0.5 - 1.0 - 0.7]
    expected = [-bits[0] / 3, -bits[1], -bits[2] / 2]
    np.testing.assert_allclose(found, np.array(expected) * math.log(10), rtol=1e-6)
    measured(tmp_path / "out", corpus, None, kenlm=str(file), lower_case=True)
    first = sorted((corpus / "train").glob("*.parquet"))[0]
    texts = pq.read_table(first)["text"].to_pylist()
    rated = pq.read_table(tmp_path / "out/train" / first.name)["log_perplexity_average"].to_numpy()
    np.testing.assert_array_equal(rated, kenlm.log_perplexities(texts, file, lower_case=True))
    (tmp_path / "y.arpa").write_text("no model")
    with pytest.raises(StageError, match=r"KenLM cannot read .*y\.arpa: "):
        measured(tmp_path / "bad", corpus, None, kenlm=str(tmp_path / "y.arpa"))
    with pytest.raises(StageError, match=r"the n-gram model .*absent\.arpa does not exist"):
        measured(tmp_path / "bad", corpus, None, kenlm=str(tmp_path / "absent.arpa"))


def test_without_kenlm_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(StageError, match=r"pip install -e '\.\[kenlm\]'"):
        kenlm.load(tmp_path / "x.arpa")
