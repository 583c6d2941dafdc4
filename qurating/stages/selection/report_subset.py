"""Report on a subset: compared with its corpus and with other subsets, with examples of the sequences that differ."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from tqdm import tqdm

from qurating.artifacts.files import read_json, row_files, write_json
from qurating.artifacts.seeds import seed_for
from qurating.corpus.sequences import one_row, texts_of_subset
from qurating.evaluation.comparison import labels_of
from qurating.reports.page import render
from qurating.reports.rated_rows import RatedRows, read_rated_rows
from qurating.runtime.errors import StageError
from qurating.selection.corpus_rows import CorpusRows
from qurating.selection.subsets import Deciles, Group, Members, jaccard, read_members


def report_subset(
    *,
    output: Path,
    corpus: Path,
    subset: Path,
    ratings: Path | None,
    compared_with: Path | Sequence[Path],
    criterion: str | Sequence[str] | None,
    duplicates: bool,
    max_rated_rows: int,
    num_examples: int,
    excerpt_characters: int,
    seed: int,
) -> dict[str, Any]:
    """Write `report.json`, `report.html` and `plots/*.png`.

    Args:
        corpus: that the subset was selected from.
        ratings: that it was selected by; None: no scores are reported.
        compared_with: one or several other subsets of the corpus; the report has the overlap with each, the sequences
            that only this subset has (came in), and those that only the other has (went out).
        criterion: whose ratings are reported, one or several.
        duplicates: count the sequences with the same text as an earlier one, which reads all texts of the subset.
        max_rated_rows: of the corpus, evenly spaced, that give the edges of the deciles and the distributions.
        num_examples: number of examples that came in, and that went out, drawn by seed.
        excerpt_characters: of each example.

    Raises:
        StageError: a subset of another corpus; ratings of another corpus, or without the criterion.
    """
    named = [criterion] if isinstance(criterion, str) else list(criterion or [])
    criteria = named if ratings is not None else []
    rows = CorpusRows(corpus, ratings, criteria, _config(subset).get("domain_column") or "domain", "reading scores")
    members = read_members(subset, corpus, rows.file_sizes)
    compared_with = [compared_with] if isinstance(compared_with, Path) else compared_with
    others = [read_members(other, corpus, rows.file_sizes) for other in compared_with]
    _check_corpus(subset, compared_with)
    sample = read_rated_rows(corpus, ratings, max_rated_rows) if ratings is not None and criteria else None
    deciles = (
        {} if sample is None else {c: Deciles(np.quantile(sample.raw[c], np.arange(1, 10) / 10)) for c in criteria}
    )
    groups = [
        {"came_in": Group(members.without(other), criteria), "went_out": Group(other.without(members), criteria)}
        for other in others
    ]
    start = 0
    for chunk in rows.chunks():
        mask = members.among(start, len(chunk.ids))
        for name, of_score in deciles.items():
            of_score.add(chunk.scores[name], chunk.lengths, mask)
        for pair in groups:
            for group in pair.values():
                group.add(start, rows.domain_names, chunk.domains, chunk)
        start += len(chunk.ids)
    summary = read_json(subset / "summary.json")["domains"]
    found: dict[str, Any] = {
        "subset": _name(subset),
        "label": _label(subset),
        "corpus": _name(corpus),
        "whole": {side: _totals(summary, prefix) for side, prefix in (("corpus", "corpus_"), ("subset", ""))},
        "domains": summary,
        "duplicates": _duplicates(corpus, subset) if duplicates else None,
        "constant_scores": _counts(subset).get("constant_scores", {}),
        "without_words": {} if ratings is None else _counts(ratings).get("without_words", {}),
        "scores": {name: of_score.report() for name, of_score in deciles.items()},
        "num_sampled": 0 if sample is None else len(sample.ids),
        "compared": [
            {
                "subset": _name(folder),
                "label": _label(folder),
                "jaccard": jaccard(members, other),
                **{side: group.report() for side, group in pair.items()},
            }
            for folder, other, pair in zip(compared_with, others, groups, strict=True)
        ],
    }
    write_json(output / "report.json", found)
    examples = [
        {
            side: _examples(
                corpus,
                group.members,
                rows.file_sizes,
                num_examples,
                excerpt_characters,
                seed_for(seed, side, str(place)),
            )
            for side, group in pair.items()
        }
        for place, pair in enumerate(groups)
    ]
    figures = _figures(output, found, sample, members, rows.file_sizes, [*zip(compared_with, others, strict=True)])
    read = [folder for folder in (subset, ratings, *compared_with) if folder is not None]
    labels = labels_of(read_json(folder / "manifest.json") for folder in read)
    content = {"found": found, "examples": examples, "figures": figures, "labels": labels}
    page = render(content, "subset_report.html.jinja")
    (output / "report.html").write_text(page, encoding="utf-8")
    counts = {"sequences": len(members.positions), "tokens": members.num_tokens(), "compared": len(others)}
    if found["duplicates"]:
        counts["duplicates"] = found["duplicates"]["sequences"]
    return counts


def _check_corpus(subset: Path, others: Sequence[Path]) -> None:
    """Refuse subsets of different corpora."""
    own = read_json(subset / "manifest.json")["inputs"]["corpus"]
    for other in others:
        if (its := read_json(other / "manifest.json")["inputs"]["corpus"]) != own:
            raise StageError(f"{_name(other)} was selected from {its}, but {_name(subset)} from {own}")


def _name(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


def _counts(artifact: Path) -> dict[str, Any]:
    return dict(read_json(artifact / "manifest.json").get("counts") or {})


def _config(artifact: Path) -> dict[str, Any]:
    return dict(read_json(artifact / "manifest.json").get("config") or {})


def _label(subset: Path) -> str:
    return str(_config(subset).get("label") or subset.name)


def _totals(domains: dict[str, dict[str, int]], prefix: str) -> dict[str, Any]:
    sequences, tokens = (sum(d[f"{prefix}{what}"] for d in domains.values()) for what in ("sequences", "tokens"))
    return {"sequences": sequences, "tokens": tokens, "mean_length": tokens / sequences if sequences else None}


def _duplicates(corpus: Path, subset: Path) -> dict[str, int]:
    """The number of sequences with the same text as an earlier one, and of their tokens."""
    index = pq.read_table(subset / "subset.parquet", columns=["id", "shard", "row", "length"])
    hashes, done = np.empty(len(index), np.uint64), 0
    with tqdm(total=len(index), desc="duplicates", unit="sequence", unit_scale=True, mininterval=0.5) as progress:
        for texts in texts_of_subset(corpus, index):
            digests = b"".join(hashlib.blake2b((text or "").encode(), digest_size=8).digest() for text in texts)
            hashes[done : done + len(texts)] = np.frombuffer(digests, np.uint64)
            done += len(texts)
            progress.update(len(texts))
    again = np.ones(len(hashes), bool)
    again[np.unique(hashes, return_index=True)[1]] = False
    return {"sequences": int(again.sum()), "tokens": int(index["length"].to_numpy()[again].sum())}


def _examples(
    corpus: Path, members: Members, file_sizes: Sequence[int], count: int, max_characters: int, seed: int
) -> list[dict[str, Any]]:
    """Some members, drawn by seed, with the start of their texts."""
    files, ends = row_files(corpus / "train"), np.cumsum(file_sizes)
    drawn = np.random.default_rng(seed).permutation(len(members.positions))[:count]
    found = []
    for position in np.sort(members.positions[drawn]).tolist():
        shard = int(np.searchsorted(ends, position, side="right"))
        row = position - int(ends[shard] - file_sizes[shard])
        example = one_row(files[shard], row, ["text", "document_id", "domain", "length"])
        text = str(example["text"])
        found.append(example | {"text": text[:max_characters], "is_cut": len(text) > max_characters})
    return found


def _figures(
    output: Path,
    found: dict[str, Any],
    sample: RatedRows | None,
    members: Members,
    file_sizes: Sequence[int],
    others: Sequence[tuple[Path, Members]],
) -> dict[str, str]:
    """The figures of the page, by name."""
    from qurating.reports import style, subset_figures
    from qurating.reports.figures import inside_outside

    summary = found["domains"]
    domains = sorted(summary, key=lambda name: -summary[name]["corpus_tokens"])
    drawn = {"domains": subset_figures.domains({name: summary[name] for name in domains[: subset_figures.MAX_DOMAINS]})}
    if found["scores"]:
        taken = {name: score["taken_of_each_tenth"] for name, score in found["scores"].items()}
        drawn["tenths"] = subset_figures.deciles(taken)
    if sample is not None:
        starts = np.cumsum(file_sizes) - np.array(file_sizes)
        inside = np.isin(starts[sample.shard] + sample.row, members.positions)
        if 2 <= inside.sum() <= len(inside) - 2:
            panels = [
                (name, name, sample.ratings[name][inside], sample.ratings[name][~inside]) for name in found["scores"]
            ]
            drawn["scores"] = inside_outside(panels)
    if len(others) > 1:
        all_of_them = [(found["label"], members), *((_label(folder), other) for folder, other in others)]
        drawn["overlap"] = subset_figures.overlaps(
            [name for name, _ in all_of_them],
            np.array([[jaccard(a, b) for _, b in all_of_them] for _, a in all_of_them]),
        )
    return {name: style.save(figure, output / "plots" / f"{name}.png") for name, figure in drawn.items()}
