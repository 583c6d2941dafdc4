"""Parts of the held-out text: some domains, the documents of a file, or both; and how an evaluation names them."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qurating.corpus.files import named_files
from qurating.corpus.lines import lines_of
from qurating.corpus.records import BYTE_ORDER_MARK, BadRowError, json_rows, lookup
from qurating.runtime.errors import StageError

ID_FIELDS = ("document_id", "id")


class Part(NamedTuple):
    """What a sequence must belong to: one of the domains, and one of the documents; None: to any.

    `setting` names it in messages.
    """

    setting: str
    domains: frozenset[str] | None = None
    documents: frozenset[str] | None = None

    @property
    def is_everything(self) -> bool:
        return self.domains is None and self.documents is None


def part(setting: str, domains: Sequence[str] | None, documents: str | None) -> Part:
    """A part from its settings.

    Args:
        setting: the name of the mapping with both, for messages.
        domains: names of domains; None: all.
        documents: a file with ids of documents, see `document_ids`; None: all.

    Raises:
        StageError: no domain, or as `document_ids`.
    """
    if domains is not None and (isinstance(domains, str) or not domains):
        raise StageError(f"{setting}.domains={domains}: it must be a list of domains, [code,manuals], or null for all")
    return Part(
        setting,
        None if domains is None else frozenset(map(str, domains)),
        None if documents is None else document_ids(documents),
    )


def named_parts(setting: str, given: Mapping[str, Any]) -> dict[str, Part]:
    """The named parts of a setting, by name; raises StageError for one without domains and documents."""
    found = {}
    for name, settings in given.items():
        place = f"{setting}.{name}"
        if not isinstance(settings, Mapping) or not settings or settings.keys() - {"domains", "documents"}:
            raise StageError(f"{place}={settings}: it must have domains, documents, or both, and nothing else")
        found[name] = part(place, settings.get("domains"), settings.get("documents"))
        if found[name].is_everything:
            raise StageError(f"{place} restricts nothing: give it domains, documents, or both")
    return found


def document_ids(paths: str) -> frozenset[str]:
    """The ids of documents in files: Parquet or JSON lines with `document_id` or `id`, or text with one id per line.

    Args:
        paths: a path or a pattern. Text is what ends in `.txt`, compressed or not.

    Raises:
        StageError: no file, a file without ids, a row without an id.
    """
    found: set[str] = set()
    for path, _ in named_files(paths):
        before = len(found)
        if path.suffix == ".parquet":
            found.update(_of_parquet(path))
        elif ".txt" in path.suffixes:
            found.update(_of_line(path, number, line) for number, line in enumerate(lines_of(path), start=1))
        else:
            found.update(_of_row(path, number, row) for number, row in json_rows(path))
        found.discard("")
        if len(found) == before:
            raise StageError(f"{path} has no id of a document{' that other files lack' if found else ''}")
    return frozenset(found)


def _of_parquet(path: Path) -> list[str]:
    try:
        names = pq.read_schema(path).names
        field = next((name for name in ID_FIELDS if name in names), None)
        if field is None:
            raise StageError(f"{path} has no column {' or '.join(ID_FIELDS)}; its columns are {', '.join(names)}")
        return [str(value) for value in pq.read_table(path, columns=[field])[field].to_pylist()]
    except pa.ArrowException as error:
        raise StageError(f"{path} cannot be read as Parquet: {error}") from error


def _of_line(path: Path, number: int, line: bytes) -> str:
    try:
        return line.removeprefix(BYTE_ORDER_MARK if number == 1 else b"").decode().strip()
    except UnicodeDecodeError as error:
        raise StageError(f"{path}, line {number}: not UTF-8 ({error.reason})") from None


def _of_row(path: Path, number: int, row: Any) -> str:
    try:
        if isinstance(row, BadRowError):
            raise row
        field = next((name for name in ID_FIELDS if isinstance(row, Mapping) and name in row), ID_FIELDS[0])
        return str(lookup(row, field))
    except BadRowError as error:
        raise StageError(f"{path}, line {number}: {error}") from error


def chosen(rows: pa.Table, part: Part, corpus: Path) -> npt.NDArray[np.bool_]:
    """Which of N sequences belong to a part: (N,).

    Args:
        rows: with `document_id`, `domain` and `num_tokens`.
        corpus: named in messages.

    Raises:
        StageError: a domain that no sequence has; no token belongs to the part.
    """
    keep = _mask(rows, part)
    if part.domains is not None:
        known = sorted(pc.unique(rows["domain"]).to_pylist())
        for unknown in sorted(part.domains.difference(known)):
            near = get_close_matches(unknown, known, n=3) or known[:10]
            raise StageError(f"{part.setting}.domains: {corpus} holds out no {unknown!r}, but {', '.join(near)}")
    if not rows["num_tokens"].to_numpy()[keep].sum():
        raise StageError(
            f"{part.setting} names no held-out text: {corpus} holds out none of its documents, or the evaluation "
            "leaves them out"
        )
    return keep


def chosen_if_any(rows: pa.Table, part: Part) -> npt.NDArray[np.bool_] | None:
    """Which of N sequences belong to a part: (N,); None if none of them has a token to predict."""
    mask = _mask(rows, part)
    return mask if rows["num_tokens"].to_numpy()[mask].sum() else None


def _mask(rows: pa.Table, part: Part) -> npt.NDArray[np.bool_]:
    keep = np.ones(rows.num_rows, dtype=bool)
    for column, values in (("domain", part.domains), ("document_id", part.documents)):
        if values is not None:
            is_in = pc.is_in(rows[column], value_set=pa.array(sorted(values), pa.string()))
            keep &= is_in.combine_chunks().to_numpy(zero_copy_only=False)
    return keep


def missing_documents(rows: pa.Table, part: Part) -> int:
    """How many documents of a part no sequence belongs to: they are not held out, or left out."""
    if part.documents is None:
        return 0
    return len(part.documents.difference(pc.unique(rows["document_id"]).to_pylist()))


def check(corpus: Path, domains: Sequence[str] | None, documents: str | None, sets: Mapping[str, Any]) -> None:
    """Raise StageError, as `evaluate` would after the training, if a part names no held-out text of a corpus."""
    names = {"document_id": "document_id", "domain": "domain", "length": "num_tokens"}
    files = sorted((corpus / "heldout").glob("*.parquet"))
    if files:  # otherwise the stage says what is missing
        rows = pa.concat_tables([pq.read_table(file, columns=[*names]) for file in files]).rename_columns(names)
        rows = rows.filter(pa.array(chosen(rows, part("evaluation", domains, documents), corpus)))
        for each in named_parts("evaluation.sets", sets).values():
            chosen(rows, each, corpus)


def evaluated(folder: Path, name: str) -> pa.Table:
    """The held-out sequences of an evaluation that belong to a part of it.

    Args:
        folder: of the evaluation, with `sequences.parquet`.
        name: of a set or a domain; empty: all of the evaluation.

    Returns:
        `document_id`, `domain`, `num_tokens`, in corpus order.

    Raises:
        OSError, pa.ArrowException: the file is missing or damaged.
    """
    file = folder / "sequences.parquet"
    has_sets = "sets" in pq.read_schema(file).names
    columns = ["document_id", "domain", "num_tokens"]
    table = pq.read_table(file, columns=[*columns, "sets"] if has_sets else columns)
    if name:
        sets = table["sets"].combine_chunks() if has_sets else pa.array([[]] * len(table), pa.list_(pa.string()))
        members = pc.list_parent_indices(sets).filter(pc.equal(pc.list_flatten(sets), name))
        table = table.take(members) if len(members) else table.filter(pc.equal(table["domain"], name))
    return table.select(columns)


def measured(metrics: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What `metrics.json` has on a part: a set or a domain; empty: on all of the evaluation.

    Raises:
        StageError: there is no such part.
    """
    if not name:
        return dict(metrics.get("overall") or {})
    known = {**(metrics.get("domains") or {}), **(metrics.get("sets") or {})}
    if name not in known:
        near = get_close_matches(name, known, n=3) or sorted(known)[:10]
        raise StageError(f"it has no part {name!r}, but {', '.join(near)}")
    return dict(known[name])


def others(metrics: Mapping[str, Any], name: str) -> dict[str, dict[str, Any]]:
    """What `metrics.json` has on the named sets other than this part; without sets, on the other domains."""
    known = metrics.get("sets") or metrics.get("domains") or {}
    return {other: measures for other, measures in known.items() if other != name}
