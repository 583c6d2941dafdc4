"""Measure the perplexity of a language model on the held-out documents of a corpus."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from qurating.artifacts.files import write_json, write_table
from qurating.corpus.tokenizing import check_ids, vocabulary_size
from qurating.evaluation import parts
from qurating.metrics import perplexity
from qurating.models.heldout import PRECISIONS, check_reads, read_heldout, sequence_nll
from qurating.models.networks import check_vocabulary
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
    excluded: Path | Sequence[Path] | None = None,
    domains: Sequence[str] | None = None,
    documents: str | None = None,
    sets: Mapping[str, Any] | None = None,
    document_files: Mapping[str, str | None] | None = None,
    corpus_sets: Mapping[str, Any] | None = None,
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
        excluded: a target set (`target.parquet`), or several, whose documents are left out, because the data of some
            methods were selected for them.
        domains: only these are read; None: all.
        documents: a file of ids: only these documents are read, see `parts.document_ids`; None: all.
        sets: named parts of what is read, each with `domains`, `documents` or both. `metrics.json` has each under
            `sets`, and `sequences.parquet` a column `sets` with the names that a sequence belongs to.
        document_files: the files that `documents` name; other files make another artifact.
        corpus_sets: more `sets`, those that the corpus brings along. One without held-out text is left out and counted,
            and `sets` win over one of the same name. They have `domains` alone, since the content of a
            file of documents would not be part of the identity.

    Raises:
        StageError: no held-out shard, or no document that is not excluded; a model with another tokenizer, or with too
            few embeddings for it; a token id that it does not have; a sequence longer than the context of the model; an
            architecture whose logits are not one linear layer; a loss that is not finite; a requested GPU that does
            not exist; a part or set without held-out text.
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
    whole = parts.part("evaluation", domains, documents)
    named = parts.named_parts("evaluation.sets", sets or {})
    targets = [] if excluded is None else [excluded] if isinstance(excluded, Path) else list(excluded)
    heldout = read_heldout(corpus, targets)
    missing = sum(parts.missing_documents(heldout.rows, each) for each in (whole, *named.values()))
    if not whole.is_everything:
        heldout = heldout.only(parts.chosen(heldout.rows, whole, corpus))
    brought = parts.named_parts("corpus.sets", corpus_sets or {})
    if files := [each.setting for each in brought.values() if each.documents is not None]:
        raise StageError(f"{files[0]}.documents: sets of a corpus have domains alone; put it into evaluation.sets")
    if clash := sorted((named.keys() | brought.keys()) & set(heldout.rows["domain"].to_pylist())):
        setting = "evaluation" if clash[0] in named else "corpus"
        raise StageError(f"{setting}.sets.{clash[0]} has the name of a domain: choose another one")
    masks = {name: parts.chosen_if_any(heldout.rows, each) for name, each in brought.items() if name not in named}
    members = {name: mask for name, mask in masks.items() if mask is not None}
    members |= {name: parts.chosen(heldout.rows, each, corpus) for name, each in named.items()}
    network = AutoModelForCausalLM.from_pretrained(language_model, dtype=torch.float32).to(device).eval()
    check_vocabulary(network, tokenizer, language_model)
    check_ids(heldout.input_ids, vocabulary_size(tokenizer), corpus / "heldout")
    check_reads(network, heldout, corpus)
    with keep_freed_memory(device):
        nll = sequence_nll(
            network, heldout.input_ids, heldout.starts, tokenizer.eos_token_id, batch_size_sequences, precision
        )
    rows = heldout.rows
    bad = np.flatnonzero(~np.isfinite(nll))
    if len(bad):
        document = rows["document_id"][int(bad[0])].as_py()
        raise StageError(
            f"the loss is not finite on {len(bad)} of {len(nll)} sequences, the first in document {document!r}: "
            f"{language_model} has diverged" + ("" if precision == "32-true" else ", or try precision=32-true")
        )
    rows = rows.append_column("nll_nats", pa.array(nll))
    result = perplexity.metrics(_documents(rows))
    if members:
        result["sets"] = {name: perplexity.summarise(_documents(rows.filter(mask))) for name, mask in members.items()}
        # the names of a sequence's sets lie together, in the order of the settings
        belongs = np.stack([*members.values()], axis=1)
        names = pa.array(np.tile(np.array([*members], dtype=object), len(rows))[belongs.ravel()], pa.string())
        ends = np.concatenate([[0], np.cumsum(belongs.sum(axis=1))]).astype(np.int32)
        rows = rows.append_column("sets", pa.ListArray.from_arrays(ends, names))
    write_table(output / "sequences.parquet", rows)
    write_json(output / "metrics.json", result)
    counts = {"sequences": len(nll), **result["overall"]}
    counts |= {f"{name}: perplexity": each["perplexity"] for name, each in result.get("sets", {}).items()}
    counts |= {"excluded_documents": heldout.num_excluded} if targets else {}
    counts |= {"corpus_sets_without_text": absent} if (absent := sum(mask is None for mask in masks.values())) else {}
    return counts | ({"named_documents_not_held_out": missing} if missing else {})


def _documents(rows: pa.Table) -> perplexity.Documents:
    columns = ("document_id", "domain", "nll_nats", "num_tokens", "num_bytes")
    return perplexity.by_document(*(rows[name].to_numpy(zero_copy_only=False) for name in columns))


def _same_vocabulary(corpus: Path, language_model: Path, vocabulary: dict[str, int]) -> None:
    """Raise StageError for a model with another vocabulary, to which the token ids mean nothing."""
    if AutoTokenizer.from_pretrained(language_model).get_vocab() != vocabulary:
        raise StageError(
            f"{language_model} was trained with another tokenizer than that of {corpus}: prepare the held-out corpus "
            "with the tokenizer of the model, and evaluate on that"
        )
