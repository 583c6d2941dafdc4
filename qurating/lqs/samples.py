"""Token sequences as samples of a loss: padded batches of similar lengths, and samples that cannot be used."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from qurating.artifacts.files import read_json, write_json
from qurating.corpus.labels import NO_TARGET
from qurating.runtime.errors import StageError

Indices = NDArray[np.int64]


class Samples:
    """Sequences with their labels, in the order given; one array holds the tokens of all.

    Args:
        kind: what messages call a sample.
        table: `input_ids`, list of int32; `labels` likewise, −100 for no target (without this column every token but
            the first is a target); `document_id`; `id` if the samples have one.
    """

    def __init__(self, kind: str, table: pa.Table) -> None:
        self.kind = kind
        self.documents = table["document_id"]
        self.ids = table["id"] if "id" in table.column_names else None
        self.tokens, self.starts = _flat(table["input_ids"])
        self.labels = _flat(table["labels"])[0] if "labels" in table.column_names else self.tokens
        if len(self.labels) != len(self.tokens):
            raise ValueError(f"{len(self.labels)} labels for {len(self.tokens)} tokens")
        self.lengths = np.diff(self.starts)

    def __len__(self) -> int:
        return len(self.lengths)

    def row(self, index: int) -> dict[str, Any]:
        """What identifies a sample to a reader: `kind`, `id` if any, `document_id`."""
        named = {} if self.ids is None else {"id": self.ids[index].as_py()}
        return {"kind": self.kind, **named, "document_id": self.documents[index].as_py()}

    def name(self, index: int) -> str:
        row = self.row(index)
        number = f" {row['id']}" if "id" in row else ""
        return f"{self.kind}{number} of document {row['document_id']!r}"

    def has_target(self) -> NDArray[np.bool_]:
        """(N,): whether any token but the first has a label."""
        labelled = self.labels != NO_TARGET
        labelled[self.starts[:-1][self.lengths > 0]] = False
        counts = np.concatenate([[0], np.cumsum(labelled)])
        return counts[self.starts[1:]] > counts[self.starts[:-1]]

    def batch(self, indices: Sequence[int] | Indices, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """`input_ids`, `attention_mask`, `labels`, int64 (B, longest), padded on the right with token 0, label −100."""
        width = int(self.lengths[np.asarray(indices)].max())
        ids = torch.zeros((len(indices), width), dtype=torch.int64)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, NO_TARGET)
        for row, index in enumerate(indices):
            part, length = slice(self.starts[index], self.starts[index + 1]), int(self.lengths[index])
            ids[row, :length] = torch.from_numpy(self.tokens[part].astype(np.int64))
            labels[row, :length] = torch.from_numpy(self.labels[part].astype(np.int64))
            mask[row, :length] = 1
        return {"input_ids": ids.to(device), "attention_mask": mask.to(device), "labels": labels.to(device)}

    def grouped(self, indices: Sequence[int] | Indices, size: int) -> list[Indices]:
        """The indices in groups of at most `size`, sorted by length, so that little is padding."""
        indices = np.asarray(indices, np.int64)
        indices = indices[np.argsort(self.lengths[indices], kind="stable")]
        return [indices[start : start + size] for start in range(0, len(indices), size)]

    def batches(
        self, indices: Sequence[int] | Indices, size: int, device: torch.device | str
    ) -> Iterator[dict[str, Tensor]]:
        for group in self.grouped(indices, size):
            yield self.batch(group, device)


def _flat(column: pa.ChunkedArray) -> tuple[NDArray[np.int32], Indices]:
    """All values of a list column, and the offsets of its rows among them (N + 1,)."""
    lists = pa.concat_arrays([chunk.cast(pa.large_list(pa.int32())) for chunk in column.chunks] or [_NOTHING])
    return np.asarray(lists.flatten()), np.concatenate([[0], np.cumsum(lists.value_lengths().to_numpy())])


_NOTHING = pa.array([], pa.large_list(pa.int32()))


def draw_batches(candidates: Indices, num_steps: int, batch_size: int, seed: int) -> Indices:
    """The samples of each training step, (num_steps, batch_size): permutations of the candidates, one after another."""
    draw = np.random.default_rng(seed)
    epochs = -(-num_steps * batch_size // len(candidates))
    order = np.concatenate([draw.permutation(candidates) for _ in range(epochs)])
    return order[: num_steps * batch_size].reshape(num_steps, batch_size)


class BadSamples:
    """Samples that a loss cannot use: they stop the run, or are recorded and left out.

    Args:
        folder: keeps a small file per sample, written by the process that found it.
        on_bad_sample: stop or skip.
    """

    def __init__(self, folder: Path, on_bad_sample: str) -> None:
        self.folder, self.on_bad_sample = folder, on_bad_sample

    def refuse(self, samples: Samples, indices: Iterable[int], reason: str) -> None:
        """Record samples as left out, each with the first reason found.

        Raises:
            StageError: `on_bad_sample` is stop; names the first sample.
        """
        for index in indices:
            if self.on_bad_sample == "stop":
                raise StageError(
                    f"{samples.name(index)}: {reason}. To leave such samples out, set annotation.on_bad_sample=skip"
                )
            file = self._file(samples, index)
            if not file.is_file():
                write_json(file, {"index": int(index), **samples.row(index), "reason": reason})

    def left_out(self) -> list[dict[str, Any]]:
        """The recorded samples: `index` among those of its kind, `kind`, `id` if any, `document_id`, `reason`."""
        found = [read_json(file) for file in self.folder.glob("*.json")]
        return sorted(found, key=lambda row: (row["kind"], row["index"]))

    def write(self, path: Path) -> None:
        """Write the samples left out as JSON lines; no file if none was."""
        if rows := self.left_out():
            lines = [json.dumps({k: v for k, v in row.items() if k != "index"}, ensure_ascii=False) for row in rows]
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _file(self, samples: Samples, index: int) -> Path:
        return self.folder / f"{samples.kind.replace(' ', '_')}-{index}.json"
