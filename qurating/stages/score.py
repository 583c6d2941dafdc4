"""Score every sequence of a corpus by a scorer."""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from tqdm import tqdm

from qurating.artifacts import StageError, row_files
from qurating.models.scorer_networks import load_scorer
from qurating.rating import TokenReader, device_of, rate_corpus


def score(
    *,
    output: Path,
    corpus: Path,
    scorer: Path | None,
    from_pretrained: str | None,
    max_tokens: int | None,
    tokens_per_batch: int,
    jsonl: bool,
    accelerator: str,
) -> dict[str, Any]:
    """Write a shard of scores beside each training shard of the corpus, row for row; finished shards are skipped.

    Columns as `rate` writes them for a criterion: `id`, `length` (in tokens of the corpus), `chunk_lengths` (in the
    scorer's), `lqs_chunks`, `lqs_average`. Scores are standard deviations of the annotated scores from their mean.

    Args:
        scorer: folder of a trained scorer.
        from_pretrained: a folder or a name of the Hugging Face Hub, instead.
        max_tokens: of a window; None: as the scorer was trained.
        tokens_per_batch: of a forward pass, padding included; the scores do not depend on it.
        jsonl: write `train/<shard>.jsonl`, too: `id`, `document_id`, `text`, `domain`, `score` (the average), a line
            a sequence.
        accelerator: auto, cpu or gpu.

    Raises:
        StageError: no scorer, or two; one that cannot be loaded, or does not read so many tokens; a score that is not a
            number; a GPU is asked for, and there is none.
    """
    device = device_of(accelerator)
    if scorer is None and from_pretrained is None:
        raise StageError(
            "there is no scorer: add the stage train_scorer, or name one that is trained: "
            "scorer.from_pretrained=<folder or name of the Hub>"
        )
    if scorer is not None and from_pretrained is not None:
        raise StageError(f"two scorers are named, {scorer} and scorer.from_pretrained={from_pretrained}: leave out one")
    network, tokenizer, settings = load_scorer(scorer or str(from_pretrained))
    max_tokens = settings["max_tokens"] if max_tokens is None else max_tokens
    limit = network.max_tokens()
    if max_tokens < 1 or (limit is not None and max_tokens > limit):
        raise StageError(f"windows of {max_tokens} tokens: the scorer reads from 1 to {limit or 'any number of'}")
    counts = rate_corpus(
        output=output,
        corpus=corpus,
        reader=TokenReader(corpus, tokenizer),
        network=network.to(device),
        criteria=["lqs"],
        max_tokens=max_tokens,
        tokens_per_batch=tokens_per_batch,
        device=device,
        doing="scoring",
    )
    if jsonl:
        for file in tqdm(row_files(corpus / "train"), desc="write jsonl", unit="shard", mininterval=0.5):
            target = output / "train" / f"{file.stem}.jsonl"
            if not target.exists():
                _write_lines(target, file, output / "train" / file.name)
    return counts


def _write_lines(target: Path, texts: Path, scores: Path) -> None:
    """The texts of one shard beside their scores; the file is there whole or not at all."""
    rows = pq.read_table(texts, columns=["id", "document_id", "text", "domain"])
    rows = rows.append_column("score", pq.read_table(scores, columns=["lqs_average"])["lqs_average"])
    temporary = target.with_name(f".{target.name}.tmp")
    with open(temporary, "w", encoding="utf-8") as stream:
        for batch in rows.to_batches(max_chunksize=1000):
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in batch.to_pylist())
    os.replace(temporary, target)
