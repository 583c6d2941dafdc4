"""A small sweep on disk, as the stages before evaluate and analyse leave it: real text, invented ratings and losses."""

import csv
import hashlib
from pathlib import Path
from pydoc_data import topics
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from qurating.artifacts.files import write_json, write_table
from qurating.metrics import scorer as metrics_scorer
from qurating.reports import figures, style
from qurating.selection.rows import Arrays
from qurating.selection.rules import select

DOMAINS = ("language_reference", "stdlib_docstrings", "package_docstrings", "licences", "source_code", "tabular_data")
CRITERIA = ("writing_style", "required_expertise", "facts_and_trivia", "educational_value")
PIECE = 64  # tokens a sequence


def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE of 600 tokens, learned from Python's topics."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator((text[:2000] for text in topics.topics.values()), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|endoftext|>")


def manifest(folder: Path, name: str, **more: Any) -> Path:
    """A manifest as the runner writes it; returns the folder."""
    config = more.pop("config", {})
    content = {
        "stage": folder.parent.name,
        "name": name,
        "identity": {"config": config, "inputs": {}},
        "config": config,
        "inputs": {},
        "labels": [],
        "seed": 1,
        "counts": {"sequences": 12},
        "seconds": 61.5,
        "code_version": "0123456789ab",
        "packages": {"torch": "2.13.0", "python": "3.12.3"},
        "fingerprint": hashlib.sha256(name.encode()).hexdigest(),
        "files": {},
    }
    write_json(folder / "manifest.json", content | more)
    return folder


def corpus(folder: Path, domains: tuple[str, ...] = DOMAINS, extra: str = "") -> Path:
    """A corpus of Python's topics, dealt out to domains, two training shards; `extra` opens the first document."""
    tokens = tokenizer()
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "heldout": []}
    for number, (name, text) in enumerate(sorted(topics.topics.items())):
        # unequal domains, as they are
        domain = domains[min(number % 11, len(domains) - 1) if number % 2 else number % len(domains)]
        text = (extra if number == 0 else "") + text[: 800 + 130 * (number % 37)]
        ids = tokens(text)["input_ids"]
        split = "heldout" if number % 4 == 3 else "train"
        for position, start in enumerate(range(0, len(ids), PIECE)):
            piece = ids[start : start + PIECE]
            digest = hashlib.blake2b(f"{name}\0{position}".encode(), digest_size=8).digest()
            rows[split].append(
                {
                    "id": int.from_bytes(digest, "little", signed=True),
                    "document_id": f"topics/{name}",
                    "position": position,
                    "domain": domain,
                    "text": tokens.decode(piece),
                    "input_ids": piece,
                    "length": len(piece),
                }
            )
    schema = pa.schema(
        [
            ("id", pa.int64()),
            ("document_id", pa.string()),
            ("position", pa.int32()),
            ("domain", pa.string()),
            ("text", pa.string()),
            ("input_ids", pa.list_(pa.int32())),
            ("length", pa.int32()),
        ]
    )
    half = len(rows["train"]) // 2
    write_table(folder / "train" / "00000.parquet", pa.Table.from_pylist(rows["train"][:half], schema))
    write_table(folder / "train" / "00001.parquet", pa.Table.from_pylist(rows["train"][half:], schema))
    write_table(folder / "heldout" / "00000.parquet", pa.Table.from_pylist(rows["heldout"], schema))
    tokens.save_pretrained(folder / "tokenizer")
    return manifest(folder, "corpora/embedded")


def read(folder: Path, split: str = "train") -> pa.Table:
    return pa.concat_tables([pq.read_table(file) for file in sorted((folder / split).glob("*.parquet"))])


def sweep(root: Path, methods: tuple[str, ...], **of_corpus: Any) -> list[dict[str, Path]]:
    """Cells `uniform`, `<criterion> top-k`, `<criterion> sample τ=2` … over one corpus, judge, rater and ratings.

    Of the criterion `lqs` they are over one annotation and scorer; `…, folding by lqs` are ordered by it.
    """
    simulated = {"labels": ["simulated judge"]}
    texts = corpus(root / "corpora" / "embedded", **of_corpus)
    rows = read(texts)
    numbers = np.random.default_rng(7)
    domains = rows["domain"].to_numpy(zero_copy_only=False)
    shared = numbers.normal(size=len(rows))
    raw = {
        name: 2 * (0.6 * shared + 0.8 * numbers.normal(size=len(rows)) + 0.5 * (domains == domains[-1 - place]))
        for place, name in enumerate(CRITERIA)
    }
    judge, rater, ratings = root / "judgments" / "simulated", root / "models" / "rater", root / "ratings" / "by-rater"
    agreement = {
        "num_pairs": 400,
        "orders_agree": 0.87,
        "positional_bias": -0.031,
        "mean_order_gap": 0.11,
        "confident": 0.6,
    }
    write_json(
        judge / "summary.json",
        {"judge": "simulated", "simulated": True, "num_votes": None, "criteria": dict.fromkeys(CRITERIA, agreement)},
    )
    write_json(
        rater / "validation.json",
        {
            "accuracy": dict.fromkeys(CRITERIA, 0.8125) | {"writing_style": None},
            "num_pairs": dict.fromkeys(CRITERIA, 48),
            "by_confidence": {"0.00-0.25": {"accuracy": 0.55, "num_pairs": 20}},
        },
    )
    start = 0
    for file in sorted((texts / "train").glob("*.parquet")):
        count = pq.read_metadata(file).num_rows
        table = {"id": rows["id"][start : start + count], "length": rows["length"][start : start + count]}
        table |= {f"{name}_average": values[start : start + count] for name, values in raw.items()}
        write_table(ratings / "train" / file.name, pa.table(table))
        start += count
    shared_cells = {
        "prepare_corpus": texts,
        "judge": manifest(judge, "judgments/simulated", **simulated),
        "train_rater": manifest(rater, "models/rater-tiny", **simulated),
        "rate": manifest(ratings, "ratings/by-rater", **simulated),
    }
    held = read(texts, "heldout").select(["id", "document_id", "domain", "length"])
    hard = numbers.normal(3.2, 0.4, len(held))
    cells = []
    for place, method in enumerate(methods):
        criterion = method.split()[0] if method.split()[0] in (*CRITERIA, "lqs") else None
        cell = dict(shared_cells) if criterion in CRITERIA else {"prepare_corpus": texts}
        if "lqs" in method:
            cell |= learned(root, texts)
            raw["lqs"] = np.concatenate(
                [pq.read_table(f)["lqs_average"] for f in sorted(cell["score"].glob("train/*"))]
            )
        cells.append(cell | _cell(root, place, method, criterion, raw, rows, held, hard))
    return cells


def learned(root: Path, texts: Path, denominator: str = "next_visited") -> dict[str, Path]:
    """An annotation, its scorer and its scores, as the LQS stages leave them, with what they are made of."""
    numbers = np.random.default_rng(11)
    rows = read(texts)
    proxy = rows.select(["id", "length", "domain"]).slice(0, 90)
    lqs = numbers.normal(size=len(proxy)) + (proxy["domain"].to_numpy(zero_copy_only=False) == DOMAINS[0])
    annotation, scorer, scores = (root / kind / denominator for kind in ("annotations", "scorers", "scores"))
    write_table(annotation / "annotation.parquet", proxy.append_column("lqs", pa.array(lqs)))
    write_json(annotation / "summary.json", {"sequences": 90, "left_out": 2, "target_loss_after": 4.125})
    with open(annotation / "trajectory.csv", "w", newline="") as stream:
        csv.writer(stream).writerows(
            [["step", "training_loss", "target_loss"], *([i, 5 - i / 9, 5 - i / 8] for i in range(4)), [4, "", 4.5]]
        )
    standard = (lqs - lqs.mean()) / lqs.std()
    predicted = 0.5 * standard + numbers.normal(size=len(lqs))
    found = metrics_scorer.report(standard, predicted, 3.0, proxy["domain"].to_pylist())
    write_json(scorer / "validation.json", found)
    style.save(figures.predicted_vs_annotated(standard, predicted, 3.0, found), scorer / "predicted_vs_annotated.png")
    start = 0
    for file in sorted((texts / "train").glob("*.parquet")):
        count = pq.read_metadata(file).num_rows
        part = rows.select(["id", "length"]).slice(start, count)
        write_table(
            scores / "train" / file.name, part.append_column("lqs_average", pa.array(numbers.normal(size=count)))
        )
        start += count
    config = {"denominator": denominator, "num_steps": 4, "contribution_interval": 2}
    return {
        "pretrain_proxy": manifest(root / "models" / "proxy", "models/proxy-tiny"),
        "prepare_target": manifest(root / "targets" / "held", "targets/heldout-language_reference"),
        "sample_proxy": manifest(root / "proxies" / "90", "proxies/90_sequences"),
        "annotate_proxy": manifest(annotation, f"annotations/{denominator}", config=config),
        "train_scorer": manifest(scorer, f"models/scorer-{denominator}"),
        "score": manifest(scores, f"scores/{denominator}"),
    }


def rescored(root: Path, cell: dict[str, Path]) -> dict[str, Path]:
    """The annotation of a cell with the scores of PDS, as the stage that divides again leaves it."""
    folder = root / "annotations" / "rescored"
    table = pq.read_table(cell["annotate_proxy"] / "annotation.parquet")
    write_table(folder / "annotation.parquet", table)
    write_json(folder / "summary.json", {"sequences": len(table), "left_out": 2, "target_loss_after": 4.125})
    return {"rescore_proxy": manifest(folder, "annotations/rescored", config={"denominator": "none"})}


def _cell(
    root: Path,
    place: int,
    method: str,
    criterion: str | None,
    raw: Any,
    rows: pa.Table,
    held: pa.Table,
    hard: np.ndarray,
) -> dict[str, Path]:
    folder = root / "cells" / str(place)
    labels = ["simulated judge"] if criterion in CRITERIA else []
    lengths = rows["length"].to_numpy()
    scores = raw[criterion] if criterion else np.zeros(len(rows))
    temperature = 0.0 if "top-k" in method else 2.0 if criterion else np.inf
    ids = rows["id"].to_numpy()
    there = Arrays(scores, lengths, ids=ids)
    chosen = select(there, num_tokens=int(lengths.sum()) // 4, temperature=temperature, seed=place).indices()
    half = len(rows) // 2  # in the first shard
    shard = (chosen >= half).astype(np.int32)
    subset = rows.select(["id", "length", "domain"]).take(chosen)
    subset = subset.append_column("shard", pa.array(shard))
    subset = subset.append_column("row", pa.array((chosen - half * shard).astype(np.int32)))
    score = pa.array(scores[chosen]) if criterion else pa.nulls(len(chosen), pa.float64())
    write_table(folder / "select" / "subset.parquet", subset.append_column("score", score))
    config = {"label": method.split(", folding")[0], "criterion": criterion, "seed": 1}
    numbers = np.random.default_rng(100 + place)
    (folder / "train_lm").mkdir(parents=True)
    with open(folder / "train_lm" / "metrics.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["step", "train/loss", "train/tokens", "learning_rate"])
        for step in range(300):
            loss = 3 + 3.4 * np.exp(-step / 40) + 0.1 * numbers.normal() - 0.05 * place
            writer.writerow([step, loss, (step + 1) * 2048, ""])
    change = numbers.normal(0.02 * (place - 1), 0.03, len(held)) if place else 0.0
    tokens = held["length"].to_numpy()
    measured = {
        **{name: held[name] for name in ("id", "document_id", "domain")},
        "num_tokens": held["length"],
        "num_bytes": pa.array(3 * tokens.astype(np.int64)),
        "nll_nats": tokens * (hard + change),
    }
    write_table(folder / "evaluate" / "sequences.parquet", pa.table(measured))
    name = method.replace(" ", "_")
    order = {"method": "folding", "criterion": "lqs"} if "folding" in method else {"method": "shuffle"}
    return {
        "select": manifest(folder / "select", f"subsets/{name}", labels=labels, config=config),
        "order": manifest(folder / "order", f"orders/{name}", labels=labels, config=order),
        "train_lm": manifest(folder / "train_lm", f"models/lm-{name}", labels=labels),
        "evaluate": manifest(folder / "evaluate", f"evaluations/{name}", labels=labels),
    }
