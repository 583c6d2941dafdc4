"""The rating engine: a shard of ratings beside each shard of a corpus, whatever network they come from."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from qurating.artifacts import StageError, row_files, write_table
from qurating.chunking import weighted_mean, windows

# input_ids and attention_mask, int64 (W, T), on the device of the network -> ratings (W, criteria)
Network = Callable[[Tensor, Tensor], Tensor]

_TEXTS_AT_ONCE = 1000


def device_of(accelerator: str) -> torch.device:
    """The device that `auto`, `cpu` or `gpu` stands for; raises StageError if a GPU is asked for, and there is none."""
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise StageError("accelerator=gpu, and torch finds no CUDA device: set trainer.accelerator=auto or cpu")
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")


class TokenReader:
    """Sequences of a corpus as tokens of the tokenizer that a network reads.

    Where that is the corpus' own, they are its `input_ids`, without the end-of-text token that closes a document. Where
    their vocabularies differ, the `text` is tokenised anew, without special tokens. Each has a token at least: a text
    without any gets the unknown token, or the one that pads.

    Args:
        corpus: a corpus artifact.
        tokenizer: that the network was trained with.
    """

    def __init__(self, corpus: Path, tokenizer: PreTrainedTokenizerBase) -> None:
        own = AutoTokenizer.from_pretrained(corpus / "tokenizer")
        self.tokenizer = tokenizer
        self.eos_token_id = own.eos_token_id
        self.is_own = tokenizer.get_vocab() == own.get_vocab()

    @property
    def column(self) -> str:
        """The one that is read of the corpus."""
        return "input_ids" if self.is_own else "text"

    @property
    def pad_token_id(self) -> int:
        """What fills up a batch, under a mask."""
        known = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0)
        return int(next(token for token in known if token is not None))

    def __call__(self, rows: pa.Table) -> list[Any]:
        """The tokens of each row, an array of int32."""
        if self.is_own:
            chunks = rows["input_ids"].chunks
            found = [ids for chunk in chunks for ids in np.split(chunk.flatten().to_numpy(), _ends(chunk)[:-1])]
            return [ids[:-1] if len(ids) > 1 and ids[-1] == self.eos_token_id else ids for ids in found]
        found = []
        for start in range(0, len(rows), _TEXTS_AT_ONCE):
            texts = rows["text"].slice(start, _TEXTS_AT_ONCE).to_pylist()
            # a text that spells a special token is a text about it
            read = self.tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)
            found += [np.array(ids, np.int32) for ids in read["input_ids"]]
        nothing = self.tokenizer.unk_token_id
        filler = np.array([self.pad_token_id if nothing is None else nothing], np.int32)
        return [ids if len(ids) else filler for ids in found]


def _ends(lists: pa.ListArray) -> np.ndarray:
    return np.cumsum(lists.value_lengths().to_numpy())


def rate_corpus(
    *,
    output: Path,
    corpus: Path,
    reader: TokenReader,
    network: Network,
    criteria: list[str],
    max_tokens: int,
    tokens_per_batch: int,
    device: torch.device,
    doing: str,
) -> dict[str, Any]:
    """Write a shard of ratings beside each training shard of the corpus, row for row; finished shards are skipped.

    Columns: `id`, `length` (as in the corpus), `chunk_lengths`, and for each criterion `<c>_chunks` (the rating of each
    window) and `<c>_average` (their mean weighted by the windows' lengths).

    Args:
        criteria: names of the network's outputs.
        max_tokens: of a window.
        tokens_per_batch: of a forward pass, padding included; the ratings do not depend on it.
        device: where the network is.
        doing: what the progress bar says.

    Returns:
        counts: sequences and tokens of the corpus, criteria.

    Raises:
        StageError: a rating is not a number.
    """
    files = row_files(corpus / "train")
    num_sequences = num_tokens = 0
    total = sum(pq.read_metadata(file).num_rows for file in files)
    with tqdm(total=total, desc=doing, unit="sequence", mininterval=0.5) as progress:
        for file in files:
            target = output / "train" / file.name
            if not target.exists():
                table = pq.read_table(file, columns=["id", reader.column, "length"])
                parts = [windows(ids, max_tokens) for ids in reader(table)]
                flat = [window for part in parts for window in part]
                per_sequence = len(flat) / max(1, len(parts))
                ratings = rate_windows(
                    network, flat, len(criteria), tokens_per_batch, reader.pad_token_id, device, progress, per_sequence
                )
                write_table(target, _beside(table, parts, ratings, criteria, file))
            rated = pq.read_table(target, columns=["length"])["length"].to_numpy()
            num_sequences, num_tokens = num_sequences + len(rated), num_tokens + int(rated.sum())
            progress.update(num_sequences - progress.n)
    return {"sequences": num_sequences, "tokens": num_tokens, "criteria": criteria}


def _beside(
    corpus: pa.Table, parts: list[list[Sequence[int]]], ratings: np.ndarray, criteria: list[str], file: Path
) -> pa.Table:
    """The ratings of one shard, from those of its sequences' windows."""
    ends = np.cumsum([len(part) for part in parts])
    lengths = np.array([len(window) for part in parts for window in part])
    averages = np.array(
        [
            weighted_mean(ratings[e - len(part) : e], lengths[e - len(part) : e])
            for e, part in zip(ends, parts, strict=True)
        ]
    ).reshape(len(parts), len(criteria))
    broken = np.flatnonzero(~np.isfinite(averages).all(axis=1))
    if len(broken):
        raise StageError(
            f"{file}: the rating of sequence {corpus['id'][broken[0]]} is not a number ({len(broken):,} of "
            f"{len(parts):,} are none): the network's weights are broken"
        )
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
    network: Network,
    inputs: list[Sequence[int]],
    num_criteria: int,
    tokens_per_batch: int,
    pad_token_id: int,
    device: torch.device,
    progress: tqdm,
    windows_per_sequence: float = 1.0,
) -> np.ndarray:
    """Ratings (windows, criteria), float32, in the order given, of windows of token ids.

    Windows of like length share a batch of at most `tokens_per_batch` tokens, right-padded: little is padding.
    """
    order = sorted(range(len(inputs)), key=lambda i: len(inputs[i]))
    ratings = np.empty((len(inputs), num_criteria), np.float32)
    start = 0
    while start < len(order):
        size = 1
        while start + size < len(order) and (size + 1) * len(inputs[order[start + size]]) <= tokens_per_batch:
            size += 1
        batch = order[start : start + size]
        ids, mask = padded([inputs[i] for i in batch], pad_token_id)
        ratings[batch] = network(ids.to(device), mask.to(device)).float().cpu().numpy()
        progress.update(round((start + size) / windows_per_sequence) - round(start / windows_per_sequence))
        start += size
    return ratings


def padded(inputs: Sequence[Sequence[int]], pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, int64 (texts, tokens of the longest), right-padded."""
    width = max(map(len, inputs), default=0)
    ids = np.full((len(inputs), max(1, width)), pad_token_id, np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(inputs):
        ids[row, : len(text)] = text
        mask[row, : len(text)] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask)
