"""Measure the perplexity of a language model on the held-out documents of a corpus."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from qurating.artifacts.files import row_files, write_json, write_table
from qurating.corpus.tokenizing import check_ids, vocabulary_size
from qurating.evaluation.heldout import PRECISIONS, sequence_nll
from qurating.metrics import perplexity
from qurating.models.likelihood import check_output_layer
from qurating.models.networks import check_vocabulary, num_positions
from qurating.runtime.devices import device_of
from qurating.runtime.errors import StageError
from qurating.runtime.malloc import keep_freed_memory


def evaluate(
    *,
    output: Path,
    corpus: Path,
    language_model: Path,
    batch_size_sequences: int,
    precision: str,
    accelerator: str,
    excluded: Path | None = None,
) -> dict[str, Any]:
    """Write `sequences.parquet` (`nll_nats` of every held-out sequence, in corpus order) and `metrics.json`.

    Each sequence is read on its own after one end-of-text token, so that each of its tokens is predicted and counts
    once, including its closing end-of-text token.

    Args:
        corpus: its `heldout` shards are read.
        language_model: a Hugging Face folder with the tokenizer it was trained with.
        batch_size_sequences: sequences per forward pass; changes the result by rounding alone.
        precision: 32-true, or bf16-mixed (faster on a GPU, about three digits).
        accelerator: auto, cpu or gpu.
        excluded: a target set (`target.parquet`) whose documents are left out, because the data were selected for them.

    Raises:
        StageError: no held-out shard, or no document that is not excluded; a model with another tokenizer, or with too
            few embeddings for it; a token id that it does not have; a sequence longer than the context of the model; an
            architecture whose logits are not one linear layer; a loss that is
            not finite; a requested GPU that does not exist.
    """
    if precision not in PRECISIONS:
        raise StageError(f"stages.evaluate.precision={precision} is none of {', '.join(PRECISIONS)}")
    if batch_size_sequences < 1:
        raise StageError(f"stages.evaluate.batch_size_sequences={batch_size_sequences}: it must be at least 1")
    device = device_of(accelerator, None, "stages.evaluate.accelerator")
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    _same_vocabulary(corpus, language_model, tokenizer.get_vocab())
    if tokenizer.eos_token_id is None:
        raise StageError(f"{corpus / 'tokenizer'} has no end-of-text token, which the model reads before each sequence")
    left_out = None if excluded is None else pq.read_table(excluded / "target.parquet", columns=["document_id"])
    rows, input_ids, starts, num_excluded = _read(corpus / "heldout", left_out)
    network = AutoModelForCausalLM.from_pretrained(language_model, dtype=torch.float32).to(device).eval()
    check_vocabulary(network, tokenizer, language_model)
    check_ids(input_ids, vocabulary_size(tokenizer), corpus / "heldout")
    _fits(network, rows, np.diff(starts), corpus)
    with keep_freed_memory(device):
        nll = sequence_nll(network, input_ids, starts, tokenizer.eos_token_id, batch_size_sequences, precision)
    bad = np.flatnonzero(~np.isfinite(nll))
    if len(bad):
        named = rows["document_id"][int(bad[0])].as_py()
        raise StageError(
            f"the loss is not finite on {len(bad)} of {len(nll)} sequences, the first in document {named!r}: "
            f"{language_model} has diverged" + ("" if precision == "32-true" else ", or try precision=32-true")
        )
    rows = rows.append_column("nll_nats", pa.array(nll))
    write_table(output / "sequences.parquet", rows)
    columns = ("document_id", "domain", "nll_nats", "num_tokens", "num_bytes")
    result = perplexity.metrics(perplexity.by_document(*(rows[c].to_numpy(zero_copy_only=False) for c in columns)))
    write_json(output / "metrics.json", result)
    counts = {"sequences": len(nll), **result["overall"]}
    return counts if excluded is None else counts | {"excluded_documents": num_excluded}


def _same_vocabulary(corpus: Path, language_model: Path, vocabulary: dict[str, int]) -> None:
    """Raise StageError for a model with another vocabulary, to which the token ids mean nothing."""
    if AutoTokenizer.from_pretrained(language_model).get_vocab() != vocabulary:
        raise StageError(
            f"{language_model} was trained with another tokenizer than that of {corpus}: prepare the held-out corpus "
            "with the tokenizer of the model, and evaluate on that"
        )


def _read(
    folder: Path, excluded: pa.Table | None
) -> tuple[pa.Table, npt.NDArray[np.int32], npt.NDArray[np.int64], int]:
    """The columns of the result but `nll_nats`, all tokens flat, and the start of each sequence among them (N + 1,).

    The last is the number of documents left out, because `excluded` has their `document_id`.
    """
    rows, tokens, lengths = [], [np.empty(0, np.int32)], [np.zeros(1, np.int64)]
    found: set[str] = set()
    for file in row_files(folder):
        table = pq.read_table(file, columns=["id", "document_id", "domain", "text", "input_ids"])
        if excluded is not None:
            is_excluded = pc.is_in(table["document_id"], value_set=excluded["document_id"].combine_chunks())
            found.update(table["document_id"].filter(is_excluded).to_pylist())
            table = table.filter(pc.invert(is_excluded))
        length = pc.list_value_length(table["input_ids"]).cast(pa.int32())
        # of the text in UTF-8, as Arrow holds it
        num_bytes = pc.binary_length(table["text"]).cast(pa.int64())
        kept = table.select(["id", "document_id", "domain"])
        rows.append(kept.append_column("num_tokens", length).append_column("num_bytes", num_bytes))
        tokens.append(pc.list_flatten(table["input_ids"]).to_numpy().astype(np.int32, copy=False))
        lengths.append(length.to_numpy().astype(np.int64))
    flat = np.concatenate(tokens)
    if not len(flat):
        without = f" without the {len(found)} documents of the target set" if found else ""
        raise StageError(f"{folder} holds no token to predict{without}; hold out more documents")
    return pa.concat_tables(rows).combine_chunks(), flat, np.cumsum(np.concatenate(lengths)), len(found)


def _fits(network: PreTrainedModel, rows: pa.Table, lengths: npt.NDArray[np.int64], corpus: Path) -> None:
    """Raise StageError if a sequence is too long for the network, or its logits are not one linear layer."""
    context = num_positions(network.config)
    longest = int(lengths.argmax())
    if context is not None and lengths[longest] > context:
        document = rows["document_id"][longest].as_py()
        raise StageError(
            f"{corpus} holds out a sequence of {lengths[longest]} tokens (document {document!r}), and the model's "
            f"context is {context}: prepare the corpus with sequence_length={context} or less, "
            "or train with a longer context"
        )
    try:
        check_output_layer(network)
    except ValueError as error:
        raise StageError(f"{error}; use another architecture") from error
