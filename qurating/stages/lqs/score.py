"""Score every sequence of a corpus with a scorer."""

import functools
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from tqdm import tqdm

from qurating.artifacts.files import replacing, row_files
from qurating.corpus.token_reader import TokenReader
from qurating.models.scorer_networks import WindowScorer, load_scorer
from qurating.rating import shards
from qurating.rating.by_network import rate_with_network
from qurating.rating.engine import Engine
from qurating.runtime import hub
from qurating.runtime.devices import device_of
from qurating.runtime.errors import StageError
from qurating.runtime.shares import share_or_all


def score(
    *,
    output: Path,
    corpus: Path,
    scorer: Path | None,
    from_pretrained: str | None,
    max_tokens: int | None,
    tokens_per_batch: int | None,
    precision: str,
    compilation: str,
    num_workers: int,
    shard: int | None,
    num_shards: int | None,
    jsonl: bool,
    accelerator: str,
) -> dict[str, Any] | None:
    """Write one shard of scores per training shard of the corpus, row for row; finished shards are skipped.

    Columns as `rate` writes them for one criterion: `id`, `length` (in tokens of the corpus), `chunk_lengths` (in the
    scorer's), `lqs_chunks`, `lqs_average`. Scores are standard deviations of the annotated scores from their mean.

    Args:
        scorer: folder of a trained scorer.
        from_pretrained: a folder or a name at the Hugging Face Hub, in place of `scorer`.
        max_tokens: of a window; None: as the scorer was trained.
        tokens_per_batch, precision, compilation, num_workers, shard, num_shards: as in `rate`.
        jsonl: also write `train/<shard>.jsonl`, one line per sequence: `id`, `document_id`, `text`, `domain`, `score`
            (the average).
        accelerator: auto, cpu or gpu.

    Raises:
        StageError: no scorer, or two; a scorer that cannot be loaded, or has no positions for `max_tokens`; a score
            that is not a number; a requested GPU that does not exist.
    """
    share = share_or_all(shard, num_shards)
    device = device_of(accelerator, share)
    folder = hub.trained_or_pretrained(
        scorer, from_pretrained, kind="scorer", stage="train_scorer", setting="scorer.from_pretrained"
    )
    network, tokenizer, settings = load_scorer(folder)
    max_tokens = settings["max_tokens"] if max_tokens is None else max_tokens
    limit = network.max_tokens()
    if max_tokens < 1 or (limit is not None and max_tokens > limit):
        raise StageError(f"windows of {max_tokens} tokens: the scorer reads from 1 to {limit or 'any number of'}")
    counts = rate_with_network(
        output=output,
        corpus=corpus,
        reader=TokenReader(corpus, tokenizer),
        network=lambda: WindowScorer(network.to(device)),  # its form is chosen on the device that it runs on
        fingerprint=shards.fingerprint_of(folder),
        engine=functools.partial(
            Engine, device=device, precision=precision, compilation=compilation, tokens_per_batch=tokens_per_batch
        ),
        criteria=["lqs"],
        max_tokens=max_tokens,
        num_workers=num_workers,
        share=share,
        description="scoring",
    )
    if jsonl:
        files = row_files(corpus / "train")
        # once all scores exist, also the files that a killed task did not write
        own = files if share is None or counts is not None else share.of(files)
        for file in tqdm(own, desc="write jsonl", unit="shard", mininterval=0.5):
            target, scores = output / "train" / f"{file.stem}.jsonl", output / "train" / file.name
            if not target.exists() or target.stat().st_mtime_ns < scores.stat().st_mtime_ns:
                _write_lines(target, file, scores)
    return counts


def _write_lines(target: Path, texts: Path, scores: Path) -> None:
    """Write the texts of one shard with their scores; the file appears whole or not at all."""
    rows = pq.read_table(texts, columns=["id", "document_id", "text", "domain"])
    rows = rows.append_column("score", pq.read_table(scores, columns=["lqs_average"])["lqs_average"])
    with replacing(target) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        for batch in rows.to_batches(max_chunksize=1000):
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in batch.to_pylist())
