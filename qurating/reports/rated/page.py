"""report.html of an analysis of a rated corpus: one file that needs no network and runs no script but its own.

What comes from a corpus is JSON in script elements that are not run (`safe_json`); the page's scripts show it as text.
The Content-Security-Policy names these scripts by their hashes, and allows no address at all.
"""

import base64
import functools
import hashlib
import json
import os
import re
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from qurating.artifacts.manifest import referenced_name
from qurating.evaluation.runs import COMPLETE
from qurating.reports import answer
from qurating.reports.page import render
from qurating.reports.rated import documents, sentences, tables
from qurating.reports.rated.safe_json import dumps
from qurating.reports.results import notes
from qurating.runtime.errors import StageError

MAX_BYTES = 10_000_000
MAX_FILES = 40  # of an artifact that its manifest names in the page
_SPARE = 10_000  # for numbers in the page that are known only when the documents are chosen
_SCRIPTS = ("text", "figures", "sections", "trust", "results", "explorer", "start")

# What each table needs, where it is absent
_ALWAYS = "The stage analyse_ratings writes this for every rated corpus: run it again with overwrite=true."
MISSING = {
    "by_group": _ALWAYS,
    "variance": _ALWAYS,
    "preferences": "This needs pairs that a judge has compared. Run the stage judge or import_judgments, then "
    "analyse_ratings.",
    "first_window": "This needs ratings by window: run the stage rate, then analyse_ratings.",
    "correlations": _ALWAYS,
    "clusters": "This needs a corpus with texts. Run analyse_ratings with more than 0 clusters.",
    "percentiles": _ALWAYS,
    "retention": "This needs subsets of this corpus. Run the stage select, then analyse_ratings.",
    "overlap": "This needs two subsets of this corpus. Run the stage select for each, then analyse_ratings.",
    "temperatures": "This needs ratings that differ, and a budget below the tokens of the corpus. Run analyse_ratings "
    "with a smaller num_tokens.",
    "normalisation": "This needs ratings that differ, and a budget below the tokens of the corpus. Run analyse_ratings "
    "with a smaller num_tokens.",
    "judge": "This needs judgments. Run the stage judge or import_judgments, then analyse_ratings.",
    "judge_compared": "Whether another way of judging agrees, such as grades of single texts, is not known. Run the "
    "stage judge with judge.mode=individual and judge.compare_with, and add its artifact to "
    "stages.analyse_ratings.inputs.judgments.",
    "rater_accuracy": "This needs a rater that was trained here. Run the stages judge and train_rater, then "
    "analyse_ratings.",
    "rater_calibration": "This needs a rater that was trained here. Run the stages judge and train_rater, then "
    "analyse_ratings.",
    "scorer": "This needs a scorer that was trained here. Run the stages annotate_proxy and train_scorer, then "
    "analyse_ratings.",
    "annotated": "This needs annotated sequences and their scores. Run the stages annotate_proxy, train_scorer and "
    "score, then analyse_ratings.",
    "results": "This needs models that were trained on subsets of this corpus, and evaluated. Run the stages select, "
    "order, train_lm and evaluate, as python run.py does, then analyse_ratings with overwrite=true.",
    "curves": "This needs losses along a training. Run the stages train_lm and evaluate, then analyse_ratings with "
    "overwrite=true.",
    "duplicates": "This needs a checked subset. Run the stages select and check_subset, then analyse_ratings.",
}


@functools.cache
def figure_library() -> str:
    """JavaScript of Vega, Vega-Lite and vega-embed (the global `vegaEmbed`), about 0.9 MB; takes some seconds once."""
    import vl_convert

    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return f"(() => {{\n{bundle}\n}})();"  # in a scope of its own: its names are not ours


def _as_script(code: str) -> str:
    """Code that may stand in a script element: what could end it, or begin a comment, is written as an escape."""
    return re.sub(r"<(?=/script|!--|script)", r"\\x3c", code, flags=re.IGNORECASE)


def _policy(scripts: list[str]) -> str:
    hashes = (base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in scripts)
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    # styles in the page cannot load anything: images and fonts are not allowed
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def _read_json(file: Path, otherwise: Any) -> Any:
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else otherwise


def _without_long_lists(manifest: Any) -> Any:
    """A manifest whose list of files is cut: large corpora have thousands of shards."""
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict) or len(files) <= MAX_FILES:
        return manifest
    kept = dict(list(files.items())[:MAX_FILES])
    return manifest | {"files": kept | {"…": f"{len(files) - MAX_FILES:,} more, see manifest.json"}}


def _about(folder: Path) -> dict[str, Any]:
    about = _read_json(folder / "about.json", {})
    manifests = {
        kind: {name: _without_long_lists(manifest) for name, manifest in of.items()}
        for kind, of in about.get("manifests", {}).items()
    }
    return about | {"manifests": manifests}


def _answer(rows: list[dict[str, Any]], found: sentences.Tables) -> dict[str, Any]:
    """What the page says of the methods besides the table `results`; `methods` is in its order."""
    return {
        "helped": sentences.on_results(found, rows),
        "sentences": answer.sentences(rows) if any(row["state"] == COMPLETE for row in rows) else [],
        "notes": [tables.cut(note) for note in notes(rows)],
        "methods": [
            {
                "elsewhere": {tables.cut(part): round(value, 4) for part, value in (row["elsewhere"] or {}).items()},
                "evaluations": [
                    (seed, referenced_name(name))
                    for seed, name in zip_longest(row["seeds"], row["evaluations"], fillvalue="")
                ],
            }
            for row in rows
        ],
    }


def _facts(folder: Path) -> dict[str, Any]:
    """All of the page but the documents."""
    found, groups = tables.read(folder)
    about = _about(folder)
    answered = _read_json(folder / "answer.json", [])
    criteria = list(dict.fromkeys(row["criterion"] for row in found["by_group"] or found["variance"] or []))
    return {
        "about": about,
        "warnings": _read_json(folder / "warnings.json", []),
        "sentences": sentences.to_believe(found, about.get("subset_labels", {}), answered),
        "answer": _answer(answered, found),
        "verdicts": sentences.verdicts(found, criteria),
        "criteria": criteria,
        "tables": found,
        "missing": {name: text for name, text in MISSING.items() if found[name] is None},
        "groups": {name: {"shown": each.shown, "num": each.num} for name, each in groups.items()},
    }


def write(folder: Path) -> Path:
    """Write `folder`/report.html from what the stage analyse_ratings has left in `folder`.

    Read are documents.parquet, tables/*.parquet (any of which may be absent: the page says what to run), about.json,
    answer.json and warnings.json. The page has at most `MAX_BYTES`: as many of the sequences as fit, and it says how
    many.

    Returns:
        The path of the page.

    Raises:
        StageError: documents.parquet is absent, a column is missing, or what is not optional exceeds `MAX_BYTES`.
    """
    if not (folder / "documents.parquet").exists():
        raise StageError(f"{folder} has no documents.parquet: the page is made of the stage analyse_ratings' results")
    here = Path(__file__).parent
    code = {name: (here / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS}
    scripts = [_as_script(text) for text in (figure_library(), *code.values())]
    content: dict[str, Any] = {
        "policy": _policy(scripts),
        "style": (here / "page.css").read_text(encoding="utf-8"),
        "scripts": scripts,
    }
    facts = _facts(folder)
    empty = render(content | {"facts": dumps(facts), "rows": "", "texts": ""}, "rated.html.jinja")
    names = pq.read_schema(folder / "documents.parquet").names
    budget = MAX_BYTES - len(empty.encode()) - len(dumps(names).encode()) - _SPARE
    if budget < 0:
        raise StageError(f"{folder}: tables and manifests alone make a page of more than {MAX_BYTES / 1e6:.0f} MB")
    examples = {row["id"] for row in facts["tables"]["percentiles"] or []}
    found = documents.read(folder, budget, first=examples)
    facts["documents"] = {
        "shown": found.num_shown,
        "given": found.num_given,
        "cut": found.num_cut,
        "without_text": found.num_without_text,
        "besides": found.num_besides,
        "max_characters": documents.MAX_CHARACTERS,
        "criteria": found.criteria,
        "subsets": found.subsets,
        "columns": found.columns,
    }
    content |= {"facts": dumps(facts), "rows": found.rows, "texts": found.texts}
    page, partial = folder / "report.html", folder / ".report.html.partial"
    partial.write_text(render(content, "rated.html.jinja"), encoding="utf-8")
    os.replace(partial, page)
    return page
