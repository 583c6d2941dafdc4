"""Check a subset for near-duplicates and evaluation texts, and remove the flagged sequences if asked to."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from qurating.artifacts.by_domain import count_domains, shortened
from qurating.artifacts.files import read_json, row_files, write_json, write_table
from qurating.corpus.readers import Document, Jsonl
from qurating.corpus.sequences import one_row, texts_of_subset
from qurating.evaluation.comparison import labels_of
from qurating.reports.page import render
from qurating.runtime.errors import StageError
from qurating.selection.contamination import Runs, in_parts
from qurating.selection.near_duplicates import find_near_duplicates

NEAR, CONTAMINATED = "near_duplicates", "contamination"
_ROWS_AT_ONCE = 1024
_HELDOUT = "held out: "  # begins the ids of held-out documents


class Flag(NamedTuple):
    """Sequence `place` of the subset: why it is flagged, what it resembles, how much (similarity, or share of runs)."""

    place: int
    reason: str
    like: str
    like_place: int  # in the subset, or among the evaluation texts
    share: float


def check_subset(
    *,
    output: Path,
    corpus: Path,
    subset: Path,
    similarity: float,
    words_of_duplicates: int,
    num_hashes: int,
    num_bands: int,
    words_of_contamination: int,
    heldout: bool,
    evaluation_paths: str | Sequence[str] | None,
    evaluation_files: str | None,
    evaluation_field: str,
    remove: Sequence[str],
    num_examples: int,
    excerpt_characters: int,
    label: str,
) -> dict[str, Any]:
    """Write `flagged.parquet`, `report.json`, `report.html`, and a subset without the sequences to remove.

    Texts with too few words for one of the checks are counted by domain, in the manifest and on the page: sequences
    that are compared whole for near-duplicates, sequences that contamination leaves out, and evaluation texts.

    Args:
        corpus: that the subset was selected from.
        similarity, words_of_duplicates, num_hashes, num_bands: see `near_duplicates.find_near_duplicates`.
        words_of_contamination: a sequence is contaminated if it shares a run of so many words with an evaluation text.
        heldout: the held-out texts of the corpus are evaluation texts.
        evaluation_paths: JSON lines with more evaluation texts: a path, a pattern or several; None: no more.
        evaluation_files: the files of these paths; other files make another artifact.
        evaluation_field: the field of a line with its text.
        remove: `near_duplicates`, `contamination`, both, or neither. The rest is smaller than the budget.
        num_examples: shown for each reason.
        excerpt_characters: of each example.
        label: the name of the selection on the page.

    Raises:
        StageError: an invalid setting; an evaluation file that does not exist, or a line without a text; a subset of
            another corpus.
    """
    if unknown := set(remove) - {NEAR, CONTAMINATED}:
        raise StageError(f"remove: unknown {', '.join(map(str, unknown))}; use {NEAR}, {CONTAMINATED}")
    if words_of_contamination < 1:
        raise StageError(f"words_of_contamination must be at least 1, not {words_of_contamination}")
    index = pq.read_table(subset / "subset.parquet")
    evaluation = _Evaluation(corpus if heldout else None, evaluation_paths, evaluation_field)
    sources: list[str] = []  # of the evaluation texts

    def evaluation_texts() -> Iterator[list[str]]:
        for part in in_parts(evaluation):
            sources.extend(_source(document) for document in part)
            yield [document.text for document in part]

    runs = Runs(evaluation_texts(), words_of_contamination)
    too_short: list[int] = []  # places of sequences that cannot share a run with the evaluation
    found: list[tuple[int, int, int, int]] = []  # place, runs, runs of the evaluation, its text

    def texts() -> Iterator[str]:
        before = 0
        with tqdm(total=len(index), desc="checking", unit="sequence", unit_scale=True, mininterval=0.5) as progress:
            for batch in texts_of_subset(corpus, index):
                sizes, shared, whose = runs.found_in(batch)
                for place in np.flatnonzero(shared).tolist():
                    found.append((before + place, int(sizes[place]), int(shared[place]), int(whose[place])))
                too_short.extend((before + np.flatnonzero(sizes == 0)).tolist())
                yield from batch
                before += len(batch)
                progress.update(len(batch))

    try:
        near, compared_whole = find_near_duplicates(
            texts(), threshold=similarity, num_words=words_of_duplicates, num_hashes=num_hashes, num_bands=num_bands
        )
    except ValueError as error:
        raise StageError(str(error)) from error
    named = evaluation.documents({whose for *_, whose in found})
    ids = index["id"].to_pylist() if near else []
    flags = [Flag(n.place, NEAR, str(ids[n.earlier]), n.earlier, n.similarity) for n in near]
    flags += [
        Flag(place, CONTAMINATED, named[whose].document_id, whose, shared / size)
        for place, size, shared, whose in found
    ]
    flags.sort()
    summary = _summary(index, flags, remove, read_json(subset / "summary.json"))
    summary |= {
        "evaluation_texts": runs.num_texts,
        "evaluation_runs": len(runs),
        "removed": list(remove),
    }
    all_short = {
        "compared_whole": _by_domain(index, compared_whole),
        "too_short_for_contamination": _by_domain(index, too_short),
        "evaluation_texts_too_short": count_domains(sources[place] for place in runs.too_short),
    }
    summary |= all_short
    short = {key: shortened(counts) for key, counts in all_short.items() if counts}
    _write_flags(output / "flagged.parquet", index, flags)
    gone = np.zeros(len(index), bool)
    gone[[flag.place for flag in flags if flag.reason in remove]] = True
    if gone.all():
        raise StageError("nothing would be left of the subset: take a reason out of stages.check_subset.remove")
    write_table(output / "subset.parquet", index.filter(pa.array(~gone)))
    write_json(output / "summary.json", {"domains": summary.pop("left")})
    write_json(output / "report.json", summary)
    examples = {
        reason: [_example(corpus, index, flag, named, excerpt_characters) for flag in some]
        for reason in (NEAR, CONTAMINATED)
        if (some := _spread([flag for flag in flags if flag.reason == reason], num_examples))
    }
    content = {"found": summary, "examples": examples, "label": label, "subset": f"{subset.parent.name}/{subset.name}"}
    content["short"] = short
    content["labels"] = labels_of([read_json(subset / "manifest.json")])
    content["settings"] = {
        "similarity": similarity,
        "words_of_duplicates": words_of_duplicates,
        "words_of_contamination": words_of_contamination,
    }
    page = render(content, "subset_check.html.jinja")
    (output / "report.html").write_text(page, encoding="utf-8")
    left = int(np.count_nonzero(~gone))
    tokens = int(index["length"].to_numpy()[~gone].sum())
    missing = int(index["length"].to_numpy()[gone].sum())
    return {
        **{reason: summary["flagged"][reason]["sequences"] for reason in (NEAR, CONTAMINATED)},
        "sequences": left,
        "tokens": tokens,
        "tokens_removed": missing,
        **short,
        "method": label,
    }


class _Evaluation:
    """The evaluation texts: the held-out ones of the corpus, and those of files."""

    def __init__(self, corpus: Path | None, paths: str | Sequence[str] | None, field: str) -> None:
        self._files = [] if corpus is None else row_files(corpus / "heldout")
        self._jsonl = Jsonl(paths=paths, text_field=field) if paths else None

    def __iter__(self) -> Iterator[Document]:
        for file in self._files:
            for batch in pq.ParquetFile(file).iter_batches(_ROWS_AT_ONCE, columns=["document_id", "domain", "text"]):
                for row in batch.to_pylist():
                    yield Document(f"{_HELDOUT}{row['document_id']}", row["domain"], row["text"])
        try:
            yield from self._jsonl or ()
        except StageError as error:
            first = str(error).split("\n")[0]
            way_out = "\n  Set the field of the text: stages.check_subset.evaluation_field" if "field" in first else ""
            raise StageError(f"{first}{way_out}") from error

    def documents(self, places: set[int]) -> dict[int, Document]:
        """The documents at these positions."""
        return {place: document for place, document in enumerate(self) if place in places} if places else {}


def _source(document: Document) -> str:
    """Where an evaluation text comes from: a domain of the held-out texts, or a file."""
    if document.document_id.startswith(_HELDOUT):
        return f"{_HELDOUT}{document.domain}"
    return document.document_id.rpartition(":")[0]  # <file name>:<line>


def _by_domain(index: pa.Table, places: Sequence[int]) -> dict[str, int]:
    return count_domains(index["domain"].take(pa.array(places, pa.int64())).to_pylist())


def _summary(
    index: pa.Table, flags: Sequence[Flag], remove: Sequence[str], before: Mapping[str, Any]
) -> dict[str, Any]:
    """Counts of flagged sequences, by reason and domain, and what is left of each domain."""
    domains, lengths = index["domain"].to_pylist(), index["length"].to_numpy()
    flagged: dict[str, dict[str, Any]] = {}
    for reason in (NEAR, CONTAMINATED):
        places = [flag.place for flag in flags if flag.reason == reason]
        flagged[reason] = {
            "sequences": len(places),
            "tokens": int(lengths[places].sum()),
            "domains": dict(sorted(Counter(domains[place] for place in places).items())),
        }
    left = {name: dict(values) for name, values in before["domains"].items()}
    for place in {flag.place for flag in flags if flag.reason in remove}:
        left[domains[place]]["sequences"] -= 1
        left[domains[place]]["tokens"] -= int(lengths[place])
    return {"sequences": len(index), "tokens": int(lengths.sum()), "flagged": flagged, "left": left}


def _write_flags(path: Path, index: pa.Table, flags: Sequence[Flag]) -> None:
    places = pa.array([flag.place for flag in flags], pa.int64())
    table = index.select(["id", "shard", "row", "domain", "length"]).take(places)
    table = table.append_column("reason", pa.array([flag.reason for flag in flags], pa.string()))
    table = table.append_column("like", pa.array([flag.like for flag in flags], pa.string()))
    write_table(path, table.append_column("share", pa.array([flag.share for flag in flags], pa.float64())))


def _spread(flags: Sequence[Flag], count: int) -> list[Flag]:
    """The most alike, the least alike and evenly spaced flags between, the most alike first."""
    ranked = sorted(flags, key=lambda flag: (-flag.share, flag.place))
    if len(ranked) <= count:
        return ranked
    return [ranked[round(i * (len(ranked) - 1) / max(1, count - 1))] for i in range(count)]


def _example(
    corpus: Path, index: pa.Table, flag: Flag, evaluation: Mapping[int, Document], max_characters: int
) -> dict[str, Any]:
    own = _row(corpus, index, flag.place)
    if flag.reason == CONTAMINATED:
        document = evaluation[flag.like_place]
        like = {"text": document.text, "document_id": document.document_id, "domain": document.domain}
    else:
        like = _row(corpus, index, flag.like_place)
    both = [
        side | {"text": str(side["text"])[:max_characters], "is_cut": len(str(side["text"])) > max_characters}
        for side in (own, like)
    ]
    return {"share": flag.share, "own": both[0], "like": both[1]}


def _row(corpus: Path, index: pa.Table, place: int) -> dict[str, Any]:
    file = row_files(corpus / "train")[index["shard"][place].as_py()]
    return one_row(file, index["row"][place].as_py(), ["text", "document_id", "domain"])
