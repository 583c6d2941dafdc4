"""Make the target set: the texts whose loss the annotation scores sequences by."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from qurating.artifacts.files import write_table
from qurating.corpus.labels import NO_TARGET
from qurating.corpus.targets import Example, Source
from qurating.runtime.errors import StageError

SCHEMA = pa.schema(
    [
        ("document_id", pa.string()),
        ("text", pa.string()),
        ("input_ids", pa.list_(pa.int32())),
        ("labels", pa.list_(pa.int32())),
        ("length", pa.int32()),
    ]
)
ON_TOO_LONG = ("stop", "cut", "skip")


def prepare_target(
    *,
    output: Path,
    corpus: Path,
    source: Source,
    context_tokens: int,
    on_too_long: str,
    seed: int,
    files: str | None = None,
) -> dict[str, Any]:
    """Write `target.parquet` (columns: SCHEMA), and `bad_rows.jsonl` where rows were skipped; returns counts.

    `labels` are the tokens to predict, −100 for no target, not shifted. `text` is the whole text, also of an example
    that was cut.

    Args:
        corpus: its tokenizer tokenises the target, or its held-out documents are the target.
        source: of `qurating.corpus.targets`.
        context_tokens: the most tokens an example may have.
        on_too_long: what to do with a longer example: "stop" raises, "cut" keeps its first `context_tokens` tokens,
            "skip" leaves it out; the last two are counted.
        files: the files that the paths of the source name; not used here, but other files make another artifact.

    Raises:
        StageError: an empty target set, one without any token to predict, an example that is too long, a bad row.
    """
    if on_too_long not in ON_TOO_LONG:
        raise StageError(f"target.on_too_long={on_too_long} is none of {', '.join(ON_TOO_LONG)}")
    if context_tokens < 2:
        raise StageError(
            f"the context is {context_tokens} tokens: it must be at least 2, because the first is not predicted"
        )
    kept: list[Example] = []
    left_out: Counter[str] = Counter()
    num_cut = num_read = 0
    for example in source.examples(corpus, seed):
        num_read += 1
        num_tokens = len(example.input_ids)
        if num_tokens > context_tokens:
            if on_too_long == "stop":
                raise StageError(
                    f"the target's example {example.document_id} has {num_tokens:,} tokens, and the context is "
                    f"{context_tokens:,}: keep its first {context_tokens:,} tokens (target.on_too_long=cut), leave "
                    "such examples out (target.on_too_long=skip), or prepare the corpus with longer sequences "
                    "(corpus.sequence_length)"
                )
            if on_too_long == "skip":
                left_out["too long"] += 1
                continue
            example = example._replace(
                input_ids=example.input_ids[:context_tokens], labels=example.labels[:context_tokens]
            )
            num_cut += 1
        # the first token is predicted from nothing
        if (example.labels[1:] == NO_TARGET).all():
            left_out["without a token to predict"] += 1
            continue
        kept.append(example)
    left_out.update(source.skipped)
    if not kept:
        reasons = [f"{number} {reason}" for reason, number in sorted(left_out.items()) if number]
        reasons += [f"{len(source.bad_rows)} bad rows"] * bool(source.bad_rows)
        where = getattr(source, "paths", None) or source
        if not num_read and not source.bad_rows:
            raise StageError(f"the target set is empty: {where} has no example")
        raise StageError(
            f"the target set is empty: none of {num_read} examples in {where} is left ({', '.join(reasons)}). Name "
            "other files or fields in target, cut long examples (target.on_too_long=cut), or predict prompts, too "
            "(target.loss_on=all)"
        )
    write_table(output / "target.parquet", _table(kept))
    if source.bad_rows:
        lines = (json.dumps(row._asdict(), ensure_ascii=False) + "\n" for row in source.bad_rows)
        (output / "bad_rows.jsonl").write_text("".join(lines), encoding="utf-8")
    return {
        "examples": len(kept),
        "documents": len({example.document_id for example in kept}),
        "tokens": sum(len(example.input_ids) for example in kept),
        "targets": sum(int((example.labels[1:] != NO_TARGET).sum()) for example in kept),
        "cut": num_cut,
        "skipped": {reason: number for reason, number in sorted(left_out.items()) if number},
        "bad_rows": len(source.bad_rows),
    }


def _table(examples: list[Example]) -> pa.Table:
    lengths = np.array([len(example.input_ids) for example in examples], dtype=np.int32)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    columns = [
        pa.array([example.document_id for example in examples], pa.string()),
        pa.array([example.text for example in examples], pa.string()),
        pa.ListArray.from_arrays(offsets, pa.array(np.concatenate([example.input_ids for example in examples]))),
        pa.ListArray.from_arrays(offsets, pa.array(np.concatenate([example.labels for example in examples]))),
        pa.array(lengths),
    ]
    return pa.table(columns, schema=SCHEMA)
