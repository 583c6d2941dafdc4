"""The table of methods (`evaluation.methods`) for people and programs: Markdown, LaTeX, CSV and Parquet.

Names come from settings and may hold anything: each format escapes what would be read as its own.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from qurating.artifacts.files import replacing, write_table
from qurating.evaluation.methods import COLUMNS
from qurating.evaluation.runs import COMPLETE
from qurating.reports.numbers import MINUS, number, readable, short_count

Row = Mapping[str, Any]
FORMATS = {"parquet": "parquet", "csv": "csv", "markdown": "md", "latex": "tex"}  # and the ends of their files

_ARROW = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_(), list: pa.list_(pa.string())}
_ARROW[dict] = pa.map_(pa.string(), pa.float64())
_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"},
    # pdfLaTeX knows these in formulas alone
    **{"τ": r"$\tau$", "±": r"$\pm$", "≤": r"$\leq$", "≥": r"$\geq$", "×": r"$\times$", MINUS: "$-$"},
}


def write(rows: Sequence[Row], folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write `results.<end>` for each of the formats, keys of `FORMATS`, and return the files."""
    clean = [{key: _readable(value) for key, value in row.items()} for row in rows]
    texts = {"csv": as_csv, "markdown": as_markdown, "latex": as_latex}
    files = []
    for name in formats:
        file = folder / f"results.{FORMATS[name]}"
        if name == "parquet":
            write_table(file, as_arrow(clean))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(file) as temporary:
                temporary.write_text(texts[name](clean), encoding="utf-8", newline="")
        files.append(file)
    return files


def as_arrow(rows: Sequence[Row]) -> pa.Table:
    schema = pa.schema([(name, _ARROW[kind]) for name, kind in COLUMNS.items()])
    plain = [{key: [*v.items()] if isinstance(v, Mapping) else v for key, v in row.items()} for row in rows]
    return pa.Table.from_pylist(plain, schema)


def as_csv(rows: Sequence[Row]) -> str:
    """All columns; lists are joined by "; ", and a text that a spreadsheet would take for a formula begins with '."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(COLUMNS)
    for row in rows:
        cells = [_joined(row[name]) for name in COLUMNS]
        writer.writerow(
            [f"'{cell}" if isinstance(cell, str) and cell[:1] in tuple("=+-@\t\r") else cell for cell in cells]
        )
    return stream.getvalue()


def _joined(cell: Any) -> Any:
    if isinstance(cell, Mapping):
        cell = [f"{name}: {value}" for name, value in cell.items()]
    return "; ".join(cell) if isinstance(cell, list) else cell


def as_markdown(rows: Sequence[Row], evaluations: bool = True) -> str:
    """A padded table, then notes; `evaluations` adds the list of artifacts that the rows lead back to."""
    heads, cells = _shown(rows)
    escaped = [[_markdown(cell) for cell in line] for line in [heads, *cells]]
    widths = [max(3, *(len(line[place]) for line in escaped)) for place in range(len(heads))]
    left = heads.index("method")
    lines = [
        "| "
        + " | ".join(c.ljust(w) if i == left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        + " |"
        for line in escaped
    ]
    rule = "|" + "|".join(f":{'-' * (w + 1)}" if i == left else f"{'-' * (w + 1)}:" for i, w in enumerate(widths)) + "|"
    text = "\n".join([lines[0], rule, *lines[1:], "", *(f"- {_markdown(note)}" for note in notes(rows))])
    if evaluations:
        text += "\n\nEvaluations:\n\n" + "\n".join(f"- {_markdown(line)}" for line in _sources(rows))
    return text + "\n"


def as_latex(rows: Sequence[Row]) -> str:
    """A `tabular` for the package booktabs, notes below it; comments name the artifacts that rows lead back to."""
    heads, cells = _shown(rows)
    columns = "".join("l" if head == "method" else "r" for head in heads)
    lines = [" & ".join(map(_latex, line)) + r" \\" for line in [heads, *cells]]
    below = [rf"\par\noindent {{\footnotesize {_latex(note)}}}" for note in notes(rows)]
    begin, end = rf"\begin{{tabular}}{{{columns}}}", r"\end{tabular}"
    table = [begin, r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", end, *below]
    return "\n".join([*table, *(f"% {line}" for line in _sources(rows))]) + "\n"


def notes(rows: Sequence[Row]) -> list[str]:
    """What a reader of the numbers has to know, one sentence or list each."""
    complete = [row for row in rows if row["state"] == COMPLETE]
    tested = sum(row["p"] is not None for row in rows)
    found = [
        f"Measured on this part of the held-out text alone: {part}."
        for part in sorted({r["part"] for r in complete if r["part"]})
    ]
    if complete:
        found.append(
            "Loss: nats per token on held-out documents, mean over seeds; ±: half its 95 % interval (Student's t)."
        )
    if any(row["num_pairs"] for row in rows):
        found.append(
            "− uniform: the difference of the loss from uniform with the same seed, corpus, model and documents."
        )
    if tested:
        found.append(
            "p: two-sided paired t-test over seeds. p (Holm): corrected for the "
            f"{tested} comparison{'s' if tested > 1 else ''} of this table by Holm's method."
        )
    ways = {row["token_factor_from"] for row in rows if row["token_factor"] is not None}
    if "budgets" in ways:
        found.append(
            "Token factor: tokens that uniform needs for the loss of the method, interpolated between uniform "
            "trainings of several budgets with the same seed, divided by the method's tokens; geometric mean over "
            "seeds (95 % interval). ≥ and ≤: outside of uniform's budgets with some seed."
        )
    if "curve" in ways:
        found.append(
            "Token factor: tokens of uniform, divided by those after which the method is at uniform's last held-out "
            "loss; geometric mean over seeds (95 % interval). It is read along one training: while the learning rate "
            "still falls, it is rather too low."
        )
    if len({row["group"] for row in complete}) > 1:
        found.append("Compare within a group: the same model settings, corpus, held-out documents and uniform.")
    for name, number_of, chance in sorted({(r["tasks"], r["num_tasks"], r["task_chance"]) for r in rows if r["tasks"]}):
        guessing = f"; guessing gives {_percent(chance)} %" if chance is not None else ""
        found.append(
            f"Tasks: {name}, mean of {number_of} task{'s' if number_of > 1 else ''}{guessing}. Accuracy: by likelihood "
            "per byte; p(answer): of the correct one among the answers. Small models are told apart by the last two."
        )
    if papers := sorted({row["paper"] for row in rows if row["paper"]}):
        found.append(f"Paper: {'; '.join(papers)}, on the paper's own data; average over its own tasks, in percent.")
    by_note: dict[str, list[Row]] = {}
    for row in rows:
        for note in [*row["notes"], *row["labels"]]:
            by_note.setdefault(note, []).append(row)
    names = Counter(row["method"] for row in complete)
    for note, noted in by_note.items():
        listed = "; ".join(_name(row, names[row["method"]] > 1) for row in noted)
        which = "all" if noted == complete and len(complete) > 1 else listed
        found.append(f"{note}: {which}")
    return [_one_line(note) for note in found]


def _name(row: Row, is_shared: bool) -> str:
    """The method of a row, with its group if methods of several groups have this name; otherwise its artifact."""
    if row["state"] != COMPLETE:
        return str(row["evaluations"][0])
    return f"{row['method']} (group {row['group']})" if is_shared else str(row["method"])


def _sources(rows: Sequence[Row]) -> list[str]:
    return [_one_line(f"{row['method']}: {', '.join([*row['evaluations'], *row['task_results']])}") for row in rows]


def _shown(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """The headings, and the cells of each row as text; columns that say nothing here are left out."""
    columns: dict[str, Callable[[Row], str]] = {
        "group": lambda row: _text(row["group"]),
        "rank": lambda row: _text(row["rank"]),
        "method": lambda row: row["method"],
        "model": lambda row: f"{_text(row['model_type'])} {short_count(row['parameters'])}",
        "corpus": lambda row: _text(row["corpus"]),
        "tokens": lambda row: short_count(row["tokens"]),
        "held-out": lambda row: f"{row['heldout'] or ''} {_text(row['num_documents'])}".strip(),
        "seeds": _seeds,
        "loss": lambda row: _mean(row, "loss", _decimals),
        "perplexity": lambda row: _mean(row, "perplexity", _like(row["perplexity"])),
        "bits per byte": lambda row: _mean(row, "bits_per_byte", _decimals),
        f"{MINUS} uniform": lambda row: "baseline" if _is_baseline(row) else _mean(row, "difference", _signed),
        "p": lambda row: _p(row["p"]),
        "p (Holm)": lambda row: _p(row["p_holm"]),
        "token factor": _factor,
        "accuracy, %": lambda row: _mean(row, "task_accuracy_normalised", _percent),
        "p(answer), %": lambda row: _mean(row, "task_probability", _percent),
        "answer, bits per byte": lambda row: _mean(row, "task_bits_per_byte", _decimals),
        "paper: perplexity": lambda row: number(row["paper_perplexity"]),
        "average": lambda row: number(row["paper_average"]),
        "state": lambda row: row["state"],
    }
    varying = {"group": "group", "held-out": "heldout"}
    optional = {f"{MINUS} uniform": "difference", "p": "p", "p (Holm)": "p", "token factor": "token_factor"}
    optional |= {"accuracy, %": "task_accuracy_normalised", "p(answer), %": "task_probability"}
    optional |= {"answer, bits per byte": "task_bits_per_byte"}
    optional |= {"paper: perplexity": "paper_perplexity", "average": "paper_average"}
    complete = [row for row in rows if row["state"] == COMPLETE]
    idle = {head for head, key in varying.items() if len({row[key] for row in complete}) <= 1}
    idle |= {head for head, key in optional.items() if all(row[key] is None for row in rows)}
    idle |= set() if any(row["state"] != COMPLETE for row in rows) else {"state"}
    shown = [head for head in columns if head not in idle]
    return shown, [[_one_line(columns[head](row)) for head in shown] for row in rows]


def _is_baseline(row: Row) -> bool:
    return bool(row["is_uniform"]) and row["state"] == COMPLETE


def _seeds(row: Row) -> str:
    seeds = row["seeds"]
    return ", ".join(seeds) if len(seeds) <= 4 else f"{len(seeds)} ({seeds[0]} … {seeds[-1]})"


def _mean(row: Row, measure: str, shown: Callable[[float], str]) -> str:
    mean, low, high = row[measure], row[f"{measure}_low"], row[f"{measure}_high"]
    if mean is None:
        return "–"
    return shown(mean) if low is None else f"{shown(mean)} ± {shown((high - low) / 2).lstrip('+')}"


def _factor(row: Row) -> str:
    factor, low, high = row["token_factor"], row["token_factor_low"], row["token_factor_high"]
    if factor is None:
        return "–"
    bound = {"at least": "≥ ", "at most": "≤ "}.get(row["token_factor_bound"], "")
    return f"{bound}{factor:.2f}" if low is None else f"{factor:.2f} ({low:.2f} to {high:.2f})"


def _decimals(value: float) -> str:
    return f"{value:.4f}".replace("-", MINUS)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}".replace("-", MINUS)


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", MINUS)


def _like(mean: float | None) -> Callable[[float], str]:
    """As many decimals for an interval as `number` gives the mean."""
    decimals = number(mean).partition(".")[2]
    return lambda value: f"{value:,.{len(decimals)}f}"


def _p(value: float | None) -> str:
    return "–" if value is None else "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def _text(value: Any) -> str:
    return "–" if value is None else str(value)


def _readable(value: Any) -> Any:
    if isinstance(value, list):
        return [readable(each) for each in value]
    if isinstance(value, Mapping):
        return {readable(name): each for name, each in value.items()}
    return readable(value) if isinstance(value, str) else value


def _one_line(text: str) -> str:
    return " ".join(readable(text).split())


def _markdown(text: str) -> str:
    """Escaped for a cell; an underscore inside a word means nothing in Markdown, and stays."""
    marked = re.sub(r"([\\`*|\[\]~])", r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;"))
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", marked)


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
