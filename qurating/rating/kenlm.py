"""Log-perplexity of texts under an n-gram model of KenLM (an extra: `pip install -e '.[kenlm]'`)."""

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qurating.corpus.words import WORDS_AND_SIGNS, words_of
from qurating.runtime.errors import StageError


def load(file: Path) -> Any:
    """Load a model of KenLM, `.arpa` or `.bin`.

    Raises:
        StageError: KenLM is not installed; the file does not exist or is not a model.
    """
    try:
        import kenlm
    except ImportError:
        raise StageError(
            "n-gram models need the package kenlm, which is not installed: pip install -e '.[kenlm]'"
        ) from None
    if not file.is_file():
        raise StageError(f"the n-gram model {file} does not exist: set perplexity.kenlm to an .arpa or .bin file")
    try:
        return kenlm.Model(str(file))
    except OSError as error:
        raise StageError(f"KenLM cannot read {file}: {str(error).strip().splitlines()[0]}") from error


def log_perplexities(texts: Sequence[str], file: Path, lower_case: bool) -> npt.NDArray[np.float64]:
    """(1/(n+1)) (−ln p(w_1 … w_n, end of sentence)) of each text, (N,), in nats per word; a text is one sentence.

    Words are those of `words_of`, and single signs.
    """
    model = _loaded(file)
    found = np.empty(len(texts))
    for place, text in enumerate(texts):
        words = words_of(text.lower() if lower_case else text, WORDS_AND_SIGNS)
        found[place] = -model.score(" ".join(words)) * math.log(10) / (len(words) + 1)
    return found


@functools.cache
def _loaded(file: Path) -> Any:
    return load(file)  # once per process
