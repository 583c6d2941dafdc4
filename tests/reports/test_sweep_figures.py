"""The numbers in the figures of a comparison, compared with the files of the cells."""

import csv
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from analysis_example import DELT, METHODS
from sweep_example import CRITERIA, DOMAINS, read, sweep

from qurating.artifacts.files import write_table
from qurating.evaluation.comparison import Cell, distinct_ratings, read_cells
from qurating.metrics.loss_curve import SCHEMA
from qurating.reports import figures, subset_figures, sweep_figures
from qurating.reports.rated_rows import read_rated_rows


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Cell]:
    return read_cells(sweep(tmp_path_factory.mktemp("sweep"), METHODS))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments of each figure by name; no figure is drawn."""
    given: dict[str, Any] = {}
    for module, names in (
        (figures, ("changes", "heat_map", "curves", "shares", "boxes", "inside_outside", "trajectory")),
        (subset_figures, ("overlaps",)),
    ):
        for name in names:
            monkeypatch.setattr(module, name, lambda *numbers, **_: numbers)
    given["keep"] = lambda name, numbers, more=0: given.update({name: numbers})
    return given


def chosen(cell: Cell) -> dict[int, int]:
    """Tokens by the id of each sequence that a cell selected."""
    table = pq.read_table(cell.folders["select"] / "subset.parquet")
    return dict(zip(table["id"].to_pylist(), table["length"].to_pylist(), strict=True))


def test_a_figure_shows_the_top_and_the_bottom_of_what_it_has_no_room_for() -> None:
    assert sweep_figures.shown("abc", 3) == [0, 1, 2]
    assert sweep_figures.shown("abcdefgh", 5) == [0, 1, 5, 6, 7]


def test_shares_are_of_tokens_in_the_corpus_and_in_each_subset(cells: list[Cell], drawn: dict[str, Any]) -> None:
    sweep_figures.draw_shares([{}] * 3, cells, drawn["keep"])
    names, domains, table = drawn["shares"]
    assert names == ["whole corpus", *(cell.method for cell in cells)]
    assert sorted(domains) == sorted(DOMAINS)
    rows = read(cells[0].folders["prepare_corpus"]).to_pylist()
    for line, ids in zip(table, [{row["id"] for row in rows}, *map(chosen, cells)], strict=True):
        tokens: Counter[str] = Counter()
        for row in rows:
            tokens[row["domain"]] += row["length"] if row["id"] in ids else 0
        assert line.tolist() == pytest.approx([100 * tokens[domain] / tokens.total() for domain in domains])


def test_overlaps_are_tokens_of_both_over_tokens_of_either(cells: list[Cell], drawn: dict[str, Any]) -> None:
    sweep_figures.draw_overlap(cells, drawn["keep"])
    names, table = drawn["overlap"]
    assert names == [cell.method for cell in cells]
    sets = [chosen(cell) for cell in cells]
    for (i, j), value in np.ndenumerate(table):
        both = sum(tokens for id_, tokens in sets[i].items() if id_ in sets[j])
        assert value == pytest.approx(both / sum((sets[i] | sets[j]).values()))
    drawn.pop("overlap")
    sweep_figures.draw_overlap(cells[:1], drawn["keep"])
    assert "overlap" not in drawn


def test_curves_are_running_means_over_the_tokens_seen(cells: list[Cell], drawn: dict[str, Any]) -> None:
    sweep_figures.draw_results([], cells, drawn["keep"])
    assert "changes" not in drawn  # nothing was evaluated
    lines, highlighted, unit = drawn["loss"]
    assert (highlighted, unit) == ([cell.method for cell in cells], "tokens seen")
    for cell in cells:
        with open(cell.folders["train_lm"] / "metrics.csv", newline="") as stream:
            rows = list(csv.DictReader(stream))
        x, loss = lines[cell.method]
        assert x.tolist() == [float(row["train/tokens"]) for row in rows]
        window = len(rows) // 50
        raw = [float(row["train/loss"]) for row in rows]
        assert loss.tolist() == pytest.approx(
            [np.mean(raw[max(0, end - window) : end]) for end in range(1, len(raw) + 1)]
        )


def test_heldout_losses_are_those_of_the_documents_of_the_part(tmp_path: Path, drawn: dict[str, Any]) -> None:
    model, evaluation = tmp_path / "model", tmp_path / "evaluation"
    rows = [
        {
            **{"step": tokens // 100, "tokens": tokens, "document_id": name, "domain": "web"},
            **{"nll_nats": nats, "num_tokens": 10, "num_bytes": 9},
        }
        for tokens, a, b in ((100, 60.0, 90.0), (200, 50.0, 70.0))
        for name, nats in (("a", a), ("b", b))
    ]
    write_table(model / "curve.parquet", pa.Table.from_pylist(rows, SCHEMA))
    evaluated = {"document_id": ["a"], "domain": ["web"], "num_tokens": [10]}
    write_table(evaluation / "sequences.parquet", pa.table(evaluated))
    cell = Cell({"train_lm": model, "evaluate": evaluation}, {}, "top-k", is_uniform=False)
    without = Cell({"evaluate": evaluation}, {}, "no curve", is_uniform=False)
    sweep_figures.draw_heldout([cell, without], "", drawn["keep"])
    lines, highlighted, unit, measure = drawn["heldout_loss"]
    assert (highlighted, unit, measure) == (["top-k"], "tokens trained on", "held-out loss")
    tokens, losses = lines["top-k"]
    assert (tokens.tolist(), losses.tolist()) == ([100, 200], [6.0, 5.0])


def test_changes_are_bold_where_their_interval_leaves_out_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    def row(name: str, change: float | None, low: float | None, high: float | None) -> dict[str, Any]:
        of = {"change_percent": change, "change_low": low, "change_high": high, "num_heldout_tokens": 5}
        return {"method": name, "domains": {"web": of}, **of}

    given: dict[str, Any] = {}
    monkeypatch.setattr(figures, "heat_map", lambda *numbers, **more: given.update(more) or numbers)
    rows = [row("uniform", None, None, None), row("a", -2.0, -3.0, -1.0), row("b", 1.0, -1.0, 3.0)]
    rows.append(row("c", 4.0, None, None))
    found: dict[str, Any] = {}
    monkeypatch.setattr(figures, "changes", lambda *numbers: numbers)
    sweep_figures.draw_results(rows, [], lambda name, numbers, **_: found.update({name: numbers}))
    names, middle, spans = found["changes"]
    assert (names, middle) == (["a", "b", "c"], [-2.0, 1.0, 4.0])
    assert spans[:2] == [(-3.0, -1.0), (-1.0, 3.0)]
    assert all(math.isnan(end) for end in spans[2])
    assert found["domains"][0].ravel().tolist() == [-2.0, 1.0, 4.0]
    assert given["bold"].ravel().tolist() == [True, False, False]


def test_what_was_selected_of_the_ratings(cells: list[Cell], drawn: dict[str, Any]) -> None:
    (rated,) = distinct_ratings(cells)
    rows = read_rated_rows(rated.corpus, rated.folder, 10**6)
    sweep_figures.draw_rated(0, rows, rated, cells, drawn["keep"])
    means, methods, columns = drawn["selected_0"]
    assert methods == [cell.method for cell in cells]  # also the uniform one, which selects from the same corpus
    for mean, cell in zip(means, cells, strict=True):
        selected = [id_ in chosen(cell) for id_ in rows.ids.tolist()]
        for name, value in zip(columns, mean, strict=True):
            if name in CRITERIA:
                assert value == pytest.approx(rows.ratings[name][selected].mean())
    panels = drawn["inside_0"][0]
    assert [(method, criterion) for method, criterion, *_ in panels] == [
        (METHODS[1], "writing_style"),
        (METHODS[2], "educational_value"),
    ]
    for (_, criterion, inside, outside), cell in zip(panels, cells[1:], strict=True):
        assert len(inside) == len(chosen(cell))
        assert sorted([*inside, *outside]) == sorted(rows.ratings[criterion])
    rho = drawn["correlations_0"][0]
    assert np.isnan(np.diag(rho)).all()


def test_an_annotation_is_drawn_in_its_own_standard_deviations(tmp_path: Path, drawn: dict[str, Any]) -> None:
    (cell,) = read_cells(sweep(tmp_path, DELT[2:3]))
    sweep_figures.draw_annotation(3, cell.folders["annotate_proxy"], drawn["keep"])
    scores, domains, shown = drawn["annotation_3"]
    table = pq.read_table(cell.folders["annotate_proxy"] / "annotation.parquet")
    raw = table["lqs"].to_numpy()
    assert scores["lqs"].tolist() == pytest.approx(((raw - raw.mean()) / raw.std()).tolist())
    assert domains.tolist() == table["domain"].to_pylist()
    counts = Counter(domains.tolist())
    assert [counts[name] for name in shown] == sorted(counts.values(), reverse=True)
    steps, training, target = drawn["trajectory_3"]
    assert steps.tolist() == [0, 1, 2, 3, 4]
    assert math.isnan(training[4])
    assert target[4] == 4.5
