"""Log-perplexity of texts under an n-gram model of KenLM (an extra: `pip install -e '.[kenlm]'`)."""

import functools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qurating.runtime.errors import StageError

_WORD = re.compile(r"\w+|[^\w\s]")


def load(file: Path) -> Any:
    """A model of KenLM, `.arpa` or `.bin`.

    Raises:
        StageError: KenLM is not installed, or the file is absent or no model.
    """
    try:
        import kenlm
    except ImportError:
        raise StageError(
            "an n-gram model is read by the package kenlm, which is not installed: pip install -e '.[kenlm]'"
        ) from None
    if not file.is_file():
        raise StageError(f"there is no n-gram model {file}: name an .arpa or .bin file of KenLM in perplexity.kenlm")
    try:
        return kenlm.Model(str(file))
    except OSError as error:
        raise StageError(f"{file} is no model that KenLM reads: {str(error).strip().splitlines()[0]}") from error


def log_perplexities(texts: Sequence[str], file: Path, lower_case: bool) -> npt.NDArray[np.float64]:
    """(1/(n+1)) (−ln p(w_1 … w_n, end of sentence)) of each text, (N,), in nats a word; a text is one sentence.

    Words are runs of letters and digits, and single signs.
    """
    model = _loaded(file)
    found = np.empty(len(texts))
    for place, text in enumerate(texts):
        words = _WORD.findall(text.lower() if lower_case else text)
        found[place] = -model.score(" ".join(words)) * math.log(10) / (len(words) + 1)
    return found


@functools.cache
def _loaded(file: Path) -> Any:
    return load(file)  # once a process
