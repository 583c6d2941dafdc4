"""What a tracker shows of a finished artifact, read from its files."""

import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from qurating.artifacts import lineage
from qurating.artifacts.files import read_json, row_files
from qurating.artifacts.manifest import referenced_name
from qurating.artifacts.seeds import seed_for
from qurating.corpus.sequences import one_row
from qurating.metrics.loss_curve import loss_curve
from qurating.training.tracking import Histogram, Point, Shown, Source, Table, Value, point

NUM_BINS = 50  # of a histogram
MAX_RATED = 100_000  # ratings that a histogram counts, from evenly spaced row groups
NUM_EXAMPLES = 5  # selected, and as many rejected
EXCERPT_CHARACTERS = 300


def shown(folder: Path) -> Shown:
    """Everything that is shown of a complete artifact `<root>/<kind>/<name>`."""
    manifest = read_json(folder / "manifest.json")
    root, stage = folder.parent.parent, manifest["stage"]
    inputs = [root / referenced_name(given) for given in dict.fromkeys(manifest["inputs"].values())]
    media = _MEDIA[stage](folder, manifest) if stage in _MEDIA else {}
    return Shown(
        source=source(folder),
        inputs=[source(each) for each in inputs if (each / "manifest.json").is_file()],
        summary=_summary(folder, manifest),
        points=[*_metrics(folder, stage), *_curve(folder, stage)],
        media={f"{stage}/{name}": value for name, value in media.items()},
    )


def source(folder: Path) -> Source:
    """A complete artifact in the lineage; its counts without those by domain."""
    manifest = read_json(folder / "manifest.json")
    name = f"{folder.parent.name}/{folder.name}"
    counts = {key: value for key, value in manifest["counts"].items() if isinstance(value, int | float | str)}
    return Source(name, manifest["stage"], manifest["fingerprint"], folder, counts)


def _summary(folder: Path, manifest: Mapping[str, Any]) -> dict[str, float | str]:
    """The counts of the manifest, the seconds, and of an evaluation the domains."""
    found: dict[str, Any] = {**manifest["counts"], "seconds": manifest["seconds"]}
    if manifest["stage"] == "evaluate":
        for domain, measures in read_json(folder / "metrics.json")["domains"].items():
            for measure in ("perplexity", "nats_per_token", "bits_per_byte"):
                found.setdefault(f"{measure}_by_domain", {})[domain] = measures[measure]
    if manifest["stage"] == "evaluate_tasks":
        found["tasks"] = read_json(folder / "tasks.json")["tasks"]
    return {key: value for key, value in _flat(found, manifest["stage"]) if isinstance(value, int | float | str)}


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _flat(each, f"{name}/{key}")
    else:
        yield name, value


def _metrics(folder: Path, stage: str) -> list[Point]:
    """The metrics of a training, by step."""
    if not (folder / "metrics.csv").is_file():
        return []
    with open(folder / "metrics.csv", newline="", encoding="utf-8") as stream:
        rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(stream)]
    return [point(stage, row, row.pop("step")) for row in rows]


def _curve(folder: Path, stage: str) -> list[Point]:
    """The held-out loss of a training, by tokens."""
    if not (folder / "curve.parquet").is_file():
        return []
    points = []
    for each in loss_curve(pq.read_table(folder / "curve.parquet")):
        losses = {"heldout/nats_per_token": each.nats_per_token, "heldout/tokens": float(each.tokens)}
        losses |= {f"heldout/nats_per_token/{domain}": nats for domain, nats in each.domains.items()}
        points.append(point(stage, losses, each.step - 1))
    return points


def _ratings(folder: Path, _: Mapping[str, Any]) -> dict[str, Value]:
    """A histogram of each criterion, over evenly spaced row groups."""
    groups = [
        (file, group) for file in row_files(folder / "train") for group in range(pq.read_metadata(file).num_row_groups)
    ]
    if not groups:
        return {}
    names = [name for name in pq.read_schema(groups[0][0]).names if name.endswith("_average")]
    rows = max(1, pq.read_metadata(groups[0][0]).row_group(0).num_rows)
    stride = max(1, -(-len(groups) * rows // MAX_RATED))
    parts = [_row_group(file, group, names) for file, group in groups[::stride]]
    table = pa.concat_tables(parts)
    return {name.removesuffix("_average"): histogram(table[name].to_numpy()) for name in names}


def _row_group(file: Path, group: int, columns: list[str]) -> pa.Table:
    with pq.ParquetFile(file) as parquet:
        return parquet.read_row_group(group, columns=columns)


def histogram(values: npt.NDArray[np.floating]) -> Histogram:
    """Counts of the finite values, of any shape, between their extremes."""
    finite = values[np.isfinite(values)].astype(np.float64)
    counts, edges = np.histogram(finite, NUM_BINS if len(finite) else 1)
    return Histogram(counts.tolist(), edges.tolist())


def _annotation(folder: Path, _: Mapping[str, Any]) -> dict[str, Value]:
    return {"lqs": histogram(pq.read_table(folder / "annotation.parquet", columns=["lqs"])["lqs"].to_numpy())}


def _subset(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Value]:
    """Examples of sequences that the subset has, and of others of the same shards of the corpus, drawn by its hash."""
    root, given = folder.parent.parent, manifest["inputs"]
    corpus = root / referenced_name(given["corpus"])
    ratings = root / referenced_name(given["ratings"]) if "ratings" in given else None
    criterion = (manifest["config"] or {}).get("criterion")
    rated = row_files(ratings / "train") if ratings is not None and isinstance(criterion, str) else []
    files = row_files(corpus / "train")
    shards = np.unique(_column(folder / "subset.parquet", "shard"))
    if not len(shards):
        return {}
    draw = np.random.default_rng(seed_for(int(manifest["fingerprint"][:8], 16), "examples"))
    shard = int(draw.choice(shards))
    taken = _column(folder / "subset.parquet", "row", shard)
    others = np.setdiff1d(np.arange(pq.read_metadata(files[shard]).num_rows), taken)
    rows = []
    for kind, pool in (("selected", taken), ("rejected", others)):
        for row in np.sort(draw.permutation(pool)[:NUM_EXAMPLES]).tolist():
            found = one_row(files[shard], row, ["document_id", "domain", "length", "text"])
            score = one_row(rated[shard], row, [f"{criterion}_average"])[f"{criterion}_average"] if rated else None
            text = str(found["text"])
            cut = text if len(text) <= EXCERPT_CHARACTERS else f"{text[:EXCERPT_CHARACTERS]}…"
            rows.append([kind, found["domain"], score, found["length"], found["document_id"], cut])
    return {"examples": Table(["kind", "domain", "rating", "tokens", "document", "text"], rows)}


def _column(file: Path, name: str, shard: int | None = None) -> npt.NDArray[np.int64]:
    rows = None if shard is None else [("shard", "=", shard)]
    column: npt.NDArray[np.int64] = pq.read_table(file, columns=[name], filters=rows)[name].to_numpy()
    return column.astype(np.int64)


def _images(folder: Path, _: Mapping[str, Any]) -> dict[str, Value]:
    files = [*folder.glob("plots/*.png"), *folder.glob("card/*.png"), *folder.glob("*.png")]
    return {file.stem: file for file in sorted(files)}


def _comparison(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Value]:
    return {"table": _table(folder / "table.csv"), **_images(folder, manifest)}


def _rated_corpus(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Value]:
    """The figures, and the table of results if models were evaluated."""
    file = folder / "tables/results.csv"
    table = _table(file) if file.is_file() else None
    return {**({"table": table} if table is not None and table.rows else {}), **_images(folder, manifest)}


def _table(file: Path) -> Table:
    with open(file, newline="", encoding="utf-8") as stream:
        head, *rows = csv.reader(stream)
    return Table(head, [[*map(_cell, row)] for row in rows])


def _cell(text: str) -> float | str | None:
    """A cell of a CSV file: a number where it is one, so that a tracker can sort by it."""
    try:
        return float(text) if text else None
    except ValueError:
        return text


_MEDIA: dict[str, Callable[[Path, Mapping[str, Any]], dict[str, Value]]] = {
    "judge": _images,
    "train_rater": _images,
    "train_scorer": _images,
    "report_subset": _images,
    "analyse_ratings": _rated_corpus,
    **dict.fromkeys(lineage.SHAREABLE, _ratings),  # the stages that write a rating of every sequence
    "annotate_proxy": _annotation,
    "rescore_proxy": _annotation,
    "select": _subset,
    "check_subset": _subset,
    "analyse": _comparison,
}
