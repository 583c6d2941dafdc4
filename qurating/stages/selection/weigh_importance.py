"""Compute the importance weight of every sequence of a corpus towards a target set: the baseline DSIR."""

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from qurating.artifacts.by_domain import count_domains, shortened
from qurating.artifacts.files import read_json, replacing, row_files, write_json
from qurating.rating.by_text import batches_of_texts, rate_with_function
from qurating.rating.importance import count_ngrams, log_ratio, log_weights
from qurating.runtime.errors import StageError
from qurating.runtime.shares import share_or_all
from qurating.runtime.workers import in_workers


def weigh_importance(
    *,
    output: Path,
    corpus: Path,
    target: Path | None,
    num_buckets: int,
    smoothing: float,
    per_ngram: bool,
    num_workers: int,
    shard: int | None,
    num_shards: int | None,
) -> dict[str, Any] | None:
    """Write `dsir_average`, the log importance weight of each sequence in nats, as ratings; and `log_ratio.npy`.

    A weight is a sum over n-grams: the longer the sequence, the further from 0. If lengths differ, short sequences
    therefore rank above all longer ones that are less likely in the target set than in the corpus. A sequence without
    a word or a sign has the weight 0; such sequences are counted by domain, as `without_words`, if there are any.

    Args:
        corpus: the training shards of this corpus are weighted; the n-gram frequencies are of all of them.
        target: a target set; its texts are examples of the text to select.
        num_buckets: number of buckets into which n-grams are hashed (paper: 10,000).
        smoothing: added to each count.
        per_ngram: use the mean over n-grams instead of the sum (the paper uses the sum).
        num_workers: processes that count and weight.
        shard, num_shards: only every `num_shards`-th shard of the corpus, from this one on; None: all.

    Returns:
        counts; None while shards of other tasks are missing.

    Raises:
        StageError: no target set; a target set or a corpus without words; fewer than two buckets; smoothing of 0 or
            less.
    """
    if target is None:
        raise StageError(
            "no target set: scorer.from_pretrained leaves out the stage prepare_target, so name an existing target set "
            "with artifacts.prepare_target=targets/NAME"
        )
    if num_buckets < 2 or smoothing <= 0:
        raise StageError(
            f"num_buckets must be at least 2 and smoothing above 0, not {num_buckets} and {smoothing}: set them with "
            "stages.weigh_importance.num_buckets and .smoothing"
        )
    file = output / "log_ratio.npy"
    without_words = output / "without_words.json"
    if not file.exists():  # every task computes the same
        ratio, empty = _fitted(corpus, target, num_buckets, smoothing, num_workers)
        if empty:
            write_json(without_words, empty)
        with replacing(file) as temporary, open(temporary, "wb") as stream:
            np.save(stream, ratio, allow_pickle=False)
    ratio = np.load(file, allow_pickle=False)
    counts = rate_with_function(
        output=output,
        corpus=corpus,
        function=functools.partial(log_weights, ratio=ratio, per_ngram=per_ngram),
        fingerprint=f"{hashlib.sha256(ratio.tobytes()).hexdigest()}, per n-gram: {per_ngram}",
        name="dsir",
        num_workers=num_workers,
        share=share_or_all(shard, num_shards),
        description="weighing",
    )
    if counts is None or not without_words.exists():
        return counts
    return counts | {"without_words": shortened(read_json(without_words))}


def _fitted(
    corpus: Path, target: Path, num_buckets: int, smoothing: float, num_workers: int
) -> tuple[npt.NDArray[np.float64], dict[str, int]]:
    """The log ratio of each bucket, and the number of sequences without a word or a sign by domain."""
    examples = pq.read_table(target / "target.parquet", columns=["text"])["text"].to_pylist()
    files = row_files(corpus / "train")
    count = functools.partial(count_ngrams, num_buckets=num_buckets)
    with tqdm(
        total=sum(pq.read_metadata(file).num_rows for file in files),
        desc="counting n-grams",
        unit="sequence",
        mininterval=0.5,
    ) as progress:
        empty: list[str] = []  # domains of the sequences without words

        def batches() -> Iterator[list[str]]:
            for file in files:
                before, places = 0, []
                for texts in batches_of_texts(file):
                    places += [before + place for place, text in enumerate(texts) if not text or text.isspace()]
                    before += len(texts)
                    progress.update(len(texts))
                    yield texts
                if places:
                    domains = pq.read_table(file, columns=["domain"])["domain"]
                    empty.extend(domains.take(pa.array(places)).to_pylist())

        everywhere = np.zeros(num_buckets, np.int64)
        for part in in_workers(count, batches(), num_workers):
            everywhere += part
    try:
        return log_ratio(count(examples), everywhere, smoothing), count_domains(empty)
    except ValueError as error:
        raise StageError(f"{target} or {corpus}: {error}") from error
