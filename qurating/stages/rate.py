"""Rate every sequence of a corpus by every criterion of a rater."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from qurating.artifacts import StageError, read_json, row_files, write_table
from qurating.chunking import weighted_mean, windows


def rate(
    *, output: Path, corpus: Path, rater: Path, max_tokens: int, tokens_per_batch: int, accelerator: str
) -> dict[str, Any]:
    """Write a shard of ratings beside each training shard of the corpus, row for row; finished shards are skipped.

    Columns: `id`, `length`, `chunk_lengths`, and for each criterion `<c>_chunks` (the rating of each window) and
    `<c>_average` (their mean weighted by the windows' lengths). Windows hold at most `max_tokens` tokens and no
    special tokens (an end-of-text token is left out).

    Args:
        max_tokens: of a window (paper: 512).
        tokens_per_batch: of a forward pass, padding included; the ratings do not depend on it.
        accelerator: auto, cpu or gpu.

    Raises:
        StageError: the rater was trained with another tokenizer; or a GPU is asked for, and there is none.
    """
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise StageError("accelerator=gpu, and torch finds no CUDA device: set trainer.accelerator=auto or cpu")
    device = torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")
    network = AutoModelForSequenceClassification.from_pretrained(rater, dtype=torch.float32).to(device).eval()
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    if AutoTokenizer.from_pretrained(rater).get_vocab() != tokenizer.get_vocab():
        raise StageError(f"{rater} was trained with another tokenizer than {corpus}'s: its ratings would mean nothing")
    criteria = read_json(rater / "criteria.json")
    files = row_files(corpus / "train")
    num_sequences = num_tokens = 0
    total = sum(pq.read_metadata(file).num_rows for file in files)
    with tqdm(total=total, desc="rating", unit="sequence", mininterval=0.5) as progress:
        for file in files:
            target = output / "train" / file.name
            if not target.exists():
                table = pq.read_table(file, columns=["id", "input_ids", "length"])
                write_table(
                    target,
                    _rated(table, network, criteria, max_tokens, tokens_per_batch, tokenizer.eos_token_id, progress),
                )
            rated = pq.read_table(target, columns=["length"])["length"].to_numpy()
            num_sequences, num_tokens = num_sequences + len(rated), num_tokens + int(rated.sum())
            progress.update(num_sequences - progress.n)
    return {"sequences": num_sequences, "tokens": num_tokens, "criteria": criteria}


def _rated(
    corpus: pa.Table,
    network: PreTrainedModel,
    criteria: list[str],
    max_tokens: int,
    tokens_per_batch: int,
    eos_token_id: int,
    progress: tqdm,
) -> pa.Table:
    """The ratings of one shard."""
    sequences = corpus["input_ids"].to_pylist()
    texts = [ids[:-1] if len(ids) > 1 and ids[-1] == eos_token_id else ids for ids in sequences]
    parts = [windows(ids, max_tokens) for ids in texts]
    counts = [len(part) for part in parts]
    flat = [window for part in parts for window in part]
    ratings = rate_windows(network, flat, tokens_per_batch, eos_token_id, progress, sum(counts) / max(1, len(counts)))
    ends = np.cumsum(counts)
    lengths = np.array([len(window) for window in flat])
    averages = np.array(
        [weighted_mean(ratings[e - n : e], lengths[e - n : e]) for e, n in zip(ends, counts, strict=True)]
    ).reshape(len(counts), len(criteria))
    offsets = pa.array(np.concatenate([[0], ends]), pa.int32())
    columns: dict[str, Any] = {
        "id": corpus["id"],
        "length": corpus["length"],
        "chunk_lengths": pa.ListArray.from_arrays(offsets, pa.array(lengths, pa.int32())),
    }
    for c, name in enumerate(criteria):
        columns[f"{name}_chunks"] = pa.ListArray.from_arrays(offsets, pa.array(ratings[:, c], pa.float32()))
        columns[f"{name}_average"] = averages[:, c]
    return pa.table(columns)


@torch.inference_mode()
def rate_windows(
    network: PreTrainedModel,
    inputs: list[Sequence[int]],
    tokens_per_batch: int,
    pad_token_id: int,
    progress: tqdm,
    windows_per_sequence: float = 1.0,
) -> np.ndarray:
    """Ratings (windows, criteria), float32, in the order given, of windows of token ids.

    Windows of like length share a batch of at most `tokens_per_batch` tokens, right-padded: little is padding.
    """
    order = sorted(range(len(inputs)), key=lambda i: len(inputs[i]))
    ratings = np.empty((len(inputs), network.config.num_labels), np.float32)
    start = 0
    while start < len(order):
        size = 1
        while start + size < len(order) and (size + 1) * len(inputs[order[start + size]]) <= tokens_per_batch:
            size += 1
        batch = order[start : start + size]
        ratings[batch] = _forward(network, [inputs[i] for i in batch], pad_token_id).float().cpu().numpy()
        progress.update(round((start + size) / windows_per_sequence) - round(start / windows_per_sequence))
        start += size
    return ratings


def _forward(network: PreTrainedModel, batch: list[Sequence[int]], pad_token_id: int) -> Tensor:
    width = max(map(len, batch))
    ids = torch.full((len(batch), width), pad_token_id)
    mask = torch.zeros((len(batch), width), dtype=torch.int64)
    for row, window in enumerate(batch):
        ids[row, : len(window)] = torch.tensor(window)
        mask[row, : len(window)] = 1
    return network(input_ids=ids.to(network.device), attention_mask=mask.to(network.device), use_cache=False).logits
