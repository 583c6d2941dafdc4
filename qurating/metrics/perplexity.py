"""Perplexity of a language model on held-out text, and the uncertainty of a difference between two models.

All is computed from the negative log-likelihood of each sequence in nats, Σ_t −ln p(x_t | x_<t) over its tokens.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# resampled weights held at once: 5 million float64, 40 MB
_MAX_WEIGHTS = 5_000_000


@dataclass(frozen=True)
class Documents:
    """Held-out documents, sorted by (domain, id); every array is (D,). The sequences of a document are summed.

    `ids` and `domains` are strings, `nll_nats` float64, `num_tokens` and `num_bytes` int64.
    """

    ids: npt.NDArray[np.object_]
    domains: npt.NDArray[np.object_]
    nll_nats: Floats
    num_tokens: npt.NDArray[np.int64]
    num_bytes: npt.NDArray[np.int64]


def by_document(
    ids: npt.ArrayLike,
    domains: npt.ArrayLike,
    nll_nats: npt.ArrayLike,
    num_tokens: npt.ArrayLike,
    num_bytes: npt.ArrayLike,
) -> Documents:
    """Sum sequences to documents. Each argument is (N,), one entry per sequence; `ids` are those of the documents."""
    ids_n, domains_n = np.asarray(ids, dtype=object), np.asarray(domains, dtype=object)
    documents = sorted(set(zip(domains_n.tolist(), ids_n.tolist(), strict=True)))
    place = {document: index for index, document in enumerate(documents)}
    index_of = np.array([place[key] for key in zip(domains_n.tolist(), ids_n.tolist(), strict=True)], dtype=np.int64)

    def total(values: npt.ArrayLike) -> Floats:
        # float64 is exact for counts below 2^53
        weights = np.asarray(values, dtype=np.float64)
        return np.bincount(index_of, weights=weights, minlength=len(documents)).astype(np.float64)

    return Documents(
        ids=np.array([document for _, document in documents], dtype=object),
        domains=np.array([domain for domain, _ in documents], dtype=object),
        nll_nats=total(nll_nats),
        num_tokens=total(num_tokens).astype(np.int64),
        num_bytes=total(num_bytes).astype(np.int64),
    )


def summarise(documents: Documents, chosen: npt.NDArray[np.bool_] | None = None) -> dict[str, Any]:
    """Perplexity over some documents (all by default), each token counting once.

    nats_per_token = Σ nll / Σ tokens; perplexity = exp(nats_per_token); bits_per_byte = Σ nll / (ln 2 · Σ bytes),
    which also compares models with different tokenizers. None if the divisor is 0.
    """
    every = np.ones(len(documents.ids), dtype=bool) if chosen is None else chosen
    nll = float(documents.nll_nats[every].sum())
    num_tokens, num_bytes = int(documents.num_tokens[every].sum()), int(documents.num_bytes[every].sum())
    nats = nll / num_tokens if num_tokens else None
    with np.errstate(over="ignore"):  # a diverged model has an infinite perplexity
        perplexity = None if nats is None else float(np.exp(nats))
    return {
        "perplexity": perplexity,
        "nats_per_token": nats,
        "bits_per_byte": nll / (math.log(2.0) * num_bytes) if num_bytes else None,
        "num_tokens": num_tokens,
        "num_documents": int(every.sum()),
    }


def metrics(documents: Documents) -> dict[str, Any]:
    """`{"overall": summary, "domains": {name: summary}}`, see `summarise`."""
    names = sorted(set(documents.domains.tolist()))
    return {
        "overall": summarise(documents),
        "domains": {name: summarise(documents, documents.domains == name) for name in names},
    }


def change_percent(nll_nats: Floats, reference_nll_nats: Floats, num_tokens: npt.ArrayLike) -> Floats:
    """Change of perplexity against a reference on the same tokens, in percent: 100 · (PPL / PPL_reference − 1).

    Args:
        nll_nats: (C, D) of C models on D documents.
        reference_nll_nats: (D,).
        num_tokens: (D,).

    Returns:
        (C,); negative is better than the reference.
    """
    difference = (np.atleast_2d(nll_nats) - reference_nll_nats).sum(axis=1)
    return 100.0 * np.expm1(difference / np.asarray(num_tokens, dtype=np.float64).sum())


def bootstrap_change_percent(
    nll_nats: Floats,
    reference_nll_nats: Floats,
    num_tokens: npt.ArrayLike,
    *,
    num_resamples: int,
    seed: int,
    confidence: float = 0.95,
) -> Floats:
    """Percentile interval of `change_percent` by the paired bootstrap over documents.

    Documents are drawn with replacement, and every model is measured on the same draw as the reference, so that the
    difficulty of a document for both cancels. The interval says how much the change depends on the held-out documents,
    and nothing about another training seed.

    Args:
        nll_nats, reference_nll_nats, num_tokens: as for `change_percent`.
        num_resamples: number of draws, for example 2000.
        seed: of the draws.
        confidence: nominal coverage.

    Returns:
        (C, 2): low and high, in percent; NaN for fewer than two documents.

    Raises:
        ValueError: shapes that do not fit, no resample, or a confidence outside (0, 1).
    """
    differences = np.atleast_2d(nll_nats) - np.asarray(reference_nll_nats, dtype=np.float64)
    tokens = np.asarray(num_tokens, dtype=np.float64)
    num_models, num_documents = differences.shape
    if tokens.shape != (num_documents,):
        raise ValueError(f"{tokens.shape} token counts for {num_documents} documents")
    if num_resamples < 1 or not 0 < confidence < 1:
        raise ValueError(f"{num_resamples} resamples at a confidence of {confidence} make no interval")
    if num_documents < 2:
        return np.full((num_models, 2), np.nan)
    generator = np.random.default_rng(seed)
    draws = np.empty((num_resamples, num_models))
    step = max(1, _MAX_WEIGHTS // num_documents)
    for start in range(0, num_resamples, step):
        size = min(step, num_resamples - start)
        picked = generator.integers(num_documents, size=(size, num_documents))
        picked += num_documents * np.arange(size)[:, None]
        weights = np.bincount(picked.ravel(), minlength=size * num_documents).reshape(size, num_documents)
        drawn_tokens = weights @ tokens
        # a draw of empty documents alone, without a token, changes nothing
        draws[start : start + size] = (weights @ differences.T) / np.maximum(drawn_tokens, 1.0)[:, None]
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(draws, [tail, 100.0 - tail], axis=0)
    return 100.0 * np.expm1(np.stack([low, high], axis=1))
