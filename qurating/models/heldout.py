"""The held-out sequences of a corpus, all or a fixed sample of them, and their likelihoods under a model."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from qurating.artifacts.files import row_files
from qurating.artifacts.seeds import seed_for
from qurating.models import sharding
from qurating.models.likelihood import check_output_layer, cross_entropies, output_layer
from qurating.models.networks import num_positions
from qurating.runtime.errors import StageError

PRECISIONS = ("32-true", "bf16-mixed")


class HeldOut(NamedTuple):
    """N held-out sequences in corpus order.

    `rows` has `id`, `document_id`, `domain`, `num_tokens` (int32) and `num_bytes` (int64, of the text in UTF-8).
    Sequence n is `input_ids[starts[n]:starts[n + 1]]`; `input_ids` is int32, `starts` int64 (N + 1,).
    `num_excluded` counts the held-out documents that were left out as excluded.
    """

    rows: pa.Table
    input_ids: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    num_excluded: int

    def only(self, keep: npt.NDArray[np.bool_]) -> "HeldOut":
        """The sequences that a mask (N,) keeps."""
        lengths = np.diff(self.starts)
        tokens = self.input_ids[np.repeat(keep, lengths)]
        return HeldOut(
            self.rows.filter(pa.array(keep)), tokens, np.cumsum(np.append(0, lengths[keep])), self.num_excluded
        )


def read_heldout(corpus: Path, excluded: Sequence[Path] = (), max_tokens: int | None = None) -> HeldOut:
    """The held-out sequences of a corpus, without the documents of target sets.

    Args:
        corpus: its `heldout` shards are read, one at a time.
        excluded: target sets (`target.parquet`), whose documents are left out.
        max_tokens: sequences are taken in the order of a hash of their ids, up to this number of tokens, and one at
            least. Single sequences, not whole documents: a sample of few documents is of few kinds of text, and a long
            one would end it. It is the same sample for every model, seed and target sets (whose documents are then left
            out of it), and a smaller one is a part of a larger one. None takes all.

    Raises:
        StageError: the corpus holds out no document, or no token is left to predict.
    """
    folder = corpus / "heldout"
    targets = [pq.read_table(target / "target.parquet", columns=["document_id"]) for target in excluded]
    out = pa.concat_tables(targets)["document_id"].combine_chunks() if targets else None
    chosen = None if max_tokens is None else _sample(folder, max_tokens)
    rows, tokens, lengths = [], [np.empty(0, np.int32)], [np.zeros(1, np.int64)]
    found: set[str] = set()
    for file in row_files(folder):
        table = pq.read_table(file, columns=["id", "document_id", "domain", "text", "input_ids"])
        if out is not None:
            is_excluded = pc.is_in(table["document_id"], value_set=out)
            found.update(table["document_id"].filter(is_excluded).to_pylist())
            table = table.filter(pc.invert(is_excluded))
        if chosen is not None:
            table = table.filter(pc.is_in(table["id"], value_set=chosen))
        length = pc.list_value_length(table["input_ids"]).cast(pa.int32())
        # of the text in UTF-8, as Arrow holds it
        num_bytes = pc.binary_length(table["text"]).cast(pa.int64())
        kept = table.select(["id", "document_id", "domain"])
        rows.append(kept.append_column("num_tokens", length).append_column("num_bytes", num_bytes))
        tokens.append(pc.list_flatten(table["input_ids"]).to_numpy().astype(np.int32, copy=False))
        lengths.append(length.to_numpy().astype(np.int64))
    flat = np.concatenate(tokens)
    if not len(flat):
        sets = "target set" if len(excluded) == 1 else "target sets"
        without = f" without the {len(found)} documents of the {sets}" if found else ""
        raise StageError(f"{folder} holds no token to predict{without}; hold out more documents")
    return HeldOut(pa.concat_tables(rows).combine_chunks(), flat, np.cumsum(np.concatenate(lengths)), len(found))


def _sample(folder: Path, max_tokens: int) -> pa.Array:
    """The ids of the first sequences in the order of their hashes, up to `max_tokens` tokens."""
    tables = [pq.read_table(file, columns=["id", "length"]) for file in row_files(folder)]
    every = pa.concat_tables(tables).filter(pc.field("length") > 0)
    hashes = [seed_for(0, "heldout", str(name)) for name in every["id"].to_pylist()]
    ranked = every.take(np.argsort(np.array(hashes, np.uint64), kind="stable"))
    ends = np.cumsum(ranked["length"].to_numpy(), dtype=np.int64)
    return ranked["id"].slice(0, max(1, int((ends <= max_tokens).sum()))).combine_chunks()


# no_grad, not inference_mode: what a network caches meanwhile must serve the next training step
@torch.no_grad()
def sequence_nll(
    network: PreTrainedModel,
    input_ids: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    eos_token_id: int,
    batch_size_sequences: int,
    precision: str,
    *,
    share: int = 0,
    num_shares: int = 1,
    show_progress: bool = True,
) -> npt.NDArray[np.float64]:
    """Σ_t −ln p(x_t | eos, x_<t) of each sequence, in nats, in the order given.

    Args:
        input_ids: all tokens, flat; sequence n is `input_ids[starts[n]:starts[n + 1]]`.
        starts: (N + 1,).
        share, num_shares: only every `num_shares`-th batch is computed, from number `share` on. The batches do not
            depend on it, and the sum of all shares is exactly the result of one share of one.

    Returns:
        (N,) sums in float64 of cross-entropies in float32; 0 for a sequence without tokens, or of another share.
    """
    lengths = np.diff(starts)
    nll = np.zeros(len(lengths))
    # longest first: a batch that is too large fails at once
    ranked = np.argsort(-lengths, kind="stable")[: int((lengths > 0).sum())]
    batches = [ranked[i : i + batch_size_sequences] for i in range(0, len(ranked), batch_size_sequences)]
    device = network.device

    def losses_of(inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        # no attention mask: padding is on the right, where a causal model never looks
        states = network.base_model(input_ids=inputs[:, :-1], use_cache=False).last_hidden_state
        return cross_entropies(output_layer(network), states[mask], inputs[:, 1:][mask])

    with tqdm(
        total=int(lengths.sum()),
        desc="perplexity",
        unit="token",
        unit_scale=True,
        mininterval=0.5,
        disable=not show_progress,
    ) as progress:
        for number in range(share, -(-len(batches) // num_shares) * num_shares, num_shares):
            # where weights are sharded, all shares must read equally often: some read the last batch once more
            batch = batches[min(number, len(batches) - 1)]
            width = int(lengths[batch[0]])
            inputs = torch.full((len(batch), width + 1), eos_token_id, dtype=torch.int64)
            mask = torch.zeros((len(batch), width), dtype=torch.bool)
            for row, n in enumerate(batch):
                sequence = input_ids[starts[n] : starts[n + 1]].astype(np.int64)
                inputs[row, 1 : lengths[n] + 1] = torch.from_numpy(sequence)
                mask[row, : lengths[n]] = True
            inputs, mask = inputs.to(device), mask.to(device)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
                losses = sharding.whole(network, losses_of, inputs, mask)
            if number >= len(batches):
                continue
            # in float64, and row by row, so that the sum of a sequence does not depend on its batch
            parts = losses.double().cpu().split([int(lengths[n]) for n in batch])
            nll[batch] = [float(part.sum()) for part in parts]
            progress.update(int(lengths[batch].sum()))
    return nll


def check_reads(network: PreTrainedModel, heldout: HeldOut, corpus: Path) -> None:
    """Raise StageError if a sequence is too long for the network, or its logits are not one linear layer."""
    context, lengths = num_positions(network.config), np.diff(heldout.starts)
    longest = int(lengths.argmax())
    if context is not None and lengths[longest] > context:
        document = heldout.rows["document_id"][longest].as_py()
        raise StageError(
            f"{corpus} holds out a sequence of {lengths[longest]} tokens (document {document!r}), and the model's "
            f"context is {context}: prepare the corpus with sequence_length={context} or less, "
            "or train with a longer context"
        )
    try:
        check_output_layer(network)
    except ValueError as error:
        raise StageError(f"{error}; use another architecture") from error
