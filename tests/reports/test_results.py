"""The table of methods in its four formats, with names that try to break them."""

import csv
import io
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from qurating.evaluation.methods import COLUMNS
from qurating.reports.results import FORMATS, as_csv, as_latex, as_markdown, notes, write

HOSTILE = '=HYPERLINK("x")|a_b\\&%$#{}~^<b>\n\ud800\u202e`c`'


def row(method: str, **more: Any) -> dict[str, Any]:
    lists: dict[str, Any] = {
        "notes": [],
        "labels": [],
        "task_results": [],
        "evaluations": [f"evaluations/{method} (0123456789abcdef)"],
    }
    found = dict.fromkeys(COLUMNS) | lists | {"method": method, "state": "complete", "group": 1, "rank": 1}
    found |= {"model_type": "llama", "parameters": 75_872, "corpus": "embedded", "tokens": 30_491, "heldout": "A"}
    found |= {"seeds": ["0", "1", "2"], "num_seeds": 3, "num_pairs": 0, "is_uniform": False, "num_documents": 700}
    return found | {"loss": 3.06, "perplexity": 21.33, "bits_per_byte": 1.5} | more


def compared(method: str) -> dict[str, Any]:
    numbers = {
        "difference": -0.05,
        "difference_low": -0.0997,
        "difference_high": -0.0003,
        "p": 0.0494,
        "p_holm": 0.0988,
    }
    return row(method, loss_low=3.035, loss_high=3.085, num_pairs=3, reference="uniform", **numbers)


def cells(markdown: str, line: int) -> list[str]:
    return [cell.strip() for cell in markdown.splitlines()[line].strip("|").split(" | ")]


def test_markdown_shows_means_with_their_intervals() -> None:
    text = as_markdown([compared("top-k"), row("uniform", rank=2, is_uniform=True)])
    heads = cells(text, 0)
    shown = dict(zip(heads, cells(text, 2), strict=True))
    assert shown["loss"] == "3.0600 ± 0.0250"
    assert shown["− uniform"] == "−0.0500 ± 0.0497"
    assert (shown["p"], shown["p (Holm)"], shown["seeds"]) == ("0.0494", "0.0988", "0, 1, 2")
    assert (shown["model"], shown["tokens"], shown["perplexity"]) == ("llama 75.9K", "30.5K", "21.33")
    assert dict(zip(heads, cells(text, 3), strict=True))["− uniform"] == "baseline"
    assert "− uniform" not in cells(as_markdown([row("uniform", is_uniform=True)]), 0)
    assert not {"group", "held-out", "state", "average"} & set(heads)  # they would say nothing here
    failed = row("top-k", state="training failed", loss=None, group=None, rank=None, heldout=None, perplexity=None)
    with_failed = cells(as_markdown([compared("top-k"), row("uniform", is_uniform=True), failed]), 0)
    assert not {"group", "held-out"} & set(with_failed)  # a row without a result is of no group
    assert "state" in with_failed
    assert len({len(line) for line in text.splitlines()[:4]}) == 1  # aligned in a terminal
    assert "- top-k: evaluations/top-k (0123456789abcdef)" in text
    assert "(0123456789abcdef)" not in as_markdown([compared("top-k")], evaluations=False)


def test_intervals_of_perplexity_have_the_decimals_of_their_mean() -> None:
    large = row("a", perplexity=1223.4, perplexity_low=1133.6, perplexity_high=1313.2)
    small = row("b", perplexity=21.328, perplexity_low=20.798, perplexity_high=21.858)
    text = as_markdown([large, small])
    assert [cells(text, line)[cells(text, 0).index("perplexity")] for line in (2, 3)] == ["1,223 ± 90", "21.33 ± 0.53"]


def test_notes_say_what_was_corrected_and_what_is_missing() -> None:
    one_seed = {"notes": ["one seed, so no interval"]}
    found = notes(
        [compared("a"), compared("b"), row("c", labels=["simulated judge"], **one_seed), row("d", **one_seed)]
    )
    assert any("corrected for the 2 comparisons of this table by Holm's method" in note for note in found)
    assert "one seed, so no interval: c; d" in found
    assert "simulated judge: c" in found
    assert "one seed, so no interval: all" in notes([row("c", **one_seed), row("d", **one_seed)])
    assert "one seed, so no interval: c (group 2)" in notes([row("c"), row("c", group=2, **one_seed)])
    assert not any("Holm" in note for note in notes([row("c")]))
    failed = row("uniform", state="damaged", group=None, notes=["metrics.json is missing"])
    assert "metrics.json is missing: evaluations/uniform (0123456789abcdef)" in notes([row("c"), failed])


def test_states_groups_and_papers_appear_where_they_say_something() -> None:
    paper = {"paper_perplexity": 8.96, "paper_average": 44.9, "paper": "arXiv 2402.09739, table 1, second-hand"}
    failed = row("uniform", state="training failed", group=None, rank=None, loss=None, num_seeds=0, heldout=None)
    text = as_markdown([row("uniform", **paper), row("top-k", group=2, heldout="B"), failed])
    heads = cells(text, 0)
    first, second, third = (dict(zip(heads, cells(text, line), strict=True)) for line in (2, 3, 4))
    assert (first["paper: perplexity"], first["average"], second["average"]) == ("8.96", "44.90", "–")
    assert (second["group"], second["held-out"]) == ("2", "B 700")
    assert (third["state"], third["loss"], third["rank"]) == ("training failed", "–", "–")
    assert "arXiv 2402.09739, table 1, second-hand" in text


def test_a_hostile_name_stays_in_its_cell_of_markdown() -> None:
    text = as_markdown([row(HOSTILE, labels=[HOSTILE]), row("_a_ [x](y)")])
    lines = text.splitlines()
    assert lines[2].count(" | ") == lines[0].count(" | ")
    assert "\\|a_b\\\\&amp;%$#{}\\~^&lt;b>" in lines[2]
    assert "\\`c\\`" in lines[2]
    assert "\\_a\\_ \\[x\\](y)" in lines[3]
    assert lines[4] == ""


def test_a_hostile_name_stays_in_its_cell_of_latex() -> None:
    text = as_latex([row(HOSTILE), row("educational_value sample τ=2.0", difference=-0.1)])
    body = text.split("\\midrule\n")[1].split("\\bottomrule")[0].splitlines()
    assert len(body) == 2
    assert r"=HYPERLINK(\"" not in body[0]
    assert r"\textbar{}a\_b\textbackslash{}\&\%\$\#\{\}\textasciitilde{}\textasciicircum{}\textless{}b" in body[0]
    unescaped = body[0].replace(r"\&", "")
    assert unescaped.count("&") == text.splitlines()[0].split("}{")[1].rstrip("}").__len__() - 1
    assert r"educational\_value sample $\tau$=2.0" in body[1]
    assert "−" not in text
    assert all(line.startswith("%") for line in text.splitlines() if "evaluations/" in line)


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_cell_of_csv_is_no_formula(name: str) -> None:
    (read,) = csv.DictReader(io.StringIO(as_csv([row(name, difference=-0.5)]), newline=""))
    assert read["method"] == f"'{name}"
    assert read["difference"] == "-0.5"  # a number may begin with a minus


def test_every_format_is_written_and_can_be_read(tmp_path: Path) -> None:
    found = [compared(HOSTILE), row("uniform", is_uniform=True, rank=2)]
    files = write(found, tmp_path / "new" / "folder", [*FORMATS])
    assert [file.name for file in files] == ["results.parquet", "results.csv", "results.md", "results.tex"]
    table = pq.read_table(files[0])
    assert table.column_names == [*COLUMNS]
    assert table["difference"].to_pylist() == [-0.05, None]
    assert table["seeds"].to_pylist() == [["0", "1", "2"]] * 2
    assert table["paper_average"].type == "double"  # also where no row has one
    with open(files[1], newline="", encoding="utf-8") as stream:
        read = list(csv.DictReader(stream))
    assert [float(each["loss"]) for each in read] == [3.06, 3.06]
    assert read[0]["method"].startswith("'=HYPERLINK")
    assert read[0]["seeds"] == "0; 1; 2"
    assert write(found, tmp_path, ["csv"]) == [tmp_path / "results.csv"]
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["results.csv"]
