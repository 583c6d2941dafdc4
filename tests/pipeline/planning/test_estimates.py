"""What a sweep takes: at the papers' sizes by their own figures, and by manifests of this folder of artifacts."""

from pathlib import Path
from typing import Any

import pytest
from plan_example import artifacts_with_corpus, by_stage, plan

from qurating.artifacts.artifact import Artifact
from qurating.artifacts.publishing import building
from qurating.pipeline.planning import estimates, rates

pytestmark = pytest.mark.usefixtures("conf")


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    return artifacts_with_corpus(tmp_path)


def test_the_papers_figures_within_a_factor_of_two(tmp_path: Path) -> None:
    """520 H100-hours for rating 260B tokens, 200 for a language model, about $3.4K for the judge.

    SlimPajama has 627B tokens, of which the paper rated 260B: so many documents.
    """
    found = plan(f"paths.artifacts={tmp_path}", "scale=paper", "corpus.max_documents=244_650_000", "selection=top_k")
    stages = by_stage(found)
    (rate,), (model,), (judge,) = stages["rate"], stages["train_lm"], stages["judge"]
    assert rate["work"].startswith("260B tokens")
    assert 260 < rate["hours"] < 1040
    assert 100 < model["hours"] < 400
    assert 1_700 < judge["usd"] < 6_800
    assert judge["calls"] == 2_000_000
    assert rate["device"] == model["device"] == "H200"
    # the endpoint's time is all that is unknown
    assert [each["stage"] for each in found["artifacts"] if each["unknown"]] == ["judge"]
    totals = found["totals"]
    assert totals["hours"]["H200"] == pytest.approx(sum(each["hours"] for each in stages_on_gpu(found, "H200")))
    assert totals["usd"] == judge["usd"]
    # eight GPUs work at once
    assert totals["wall_hours_all_cells_at_once"] < totals["hours"]["H200"] / 8 + totals["hours"]["CPU"] + 5


def stages_on_gpu(found: dict[str, Any], device: str) -> list[dict[str, Any]]:
    return [each for each in found["artifacts"] if each["device"] == device]


@pytest.mark.parametrize("experiment", ["lqs_scorer", "baselines"])
@pytest.mark.parametrize("scale", ["paper", "embedded"])
def test_experiments_are_estimated_as_a_whole(experiment: str, scale: str, tmp_path: Path) -> None:
    cell = ["selection=dsir"] if experiment == "baselines" else ["selection=top_k", "ordering=folding"]
    found = plan(f"paths.artifacts={tmp_path}", f"+experiment={experiment}", f"scale={scale}", *cell)
    unknown = [each["stage"] for each in found["artifacts"] if each["unknown"]]
    # the time of a judge is that of its endpoint
    assert unknown == (["judge"] if (experiment, scale) == ("baselines", "paper") else [])


def test_cells_are_counted_once(tmp_path: Path) -> None:
    one, two = (plan(f"paths.artifacts={tmp_path}", f"selection={names}") for names in ("top_k", "top_k,uniform"))
    models = [by_stage(found)["train_lm"] for found in (one, two)]
    assert [len(each) for each in models] == [1, 2]
    rest = sum(each["hours"] for each in by_stage(two)["prepare_corpus"] + by_stage(two)["rate"])
    assert two["totals"]["hours"]["CPU"] < 2 * one["totals"]["hours"]["CPU"] - rest


def test_manifests_of_this_folder_come_first(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An order of the same tokens took ten minutes here: the next one is taken to do the same."""
    monkeypatch.setattr(rates, "ENOUGH_SHARE", 0.0)
    given = [f"paths.artifacts={artifacts}", "stage=[select,order]", "num_tokens=300", "selection=uniform"]
    (before,) = by_stage(plan(*given))["order"]
    assert before["rate_from"].startswith("table, ")
    inputs = {"corpus": "corpora/embedded (0123)", "subset": "subsets/one (0123)"}
    made_from = {"corpus": inputs["corpus"]}
    with building(Artifact(artifacts / "subsets/one", "select", made_from, {"rule": {"num_tokens": 300}})) as work:
        work.counts = {"tokens": 300, "sequences": 15}
    monkeypatch.setattr("qurating.artifacts.publishing.cpu_seconds", iter([0.0, 600.0]).__next__)
    with building(Artifact(artifacts / "orders/one", "order", inputs, {})) as work:
        (work.folder / "tokens.npy").write_bytes(bytes(2_000_000))
        work.counts = {"tokens": 300}
    (after,) = by_stage(plan(*given))["order"]
    assert after["rate_from"].startswith("here, ")
    assert after["hours"] == pytest.approx(600 / 3600, rel=0.01)
    assert after["gigabytes"] == pytest.approx(0.002)


@pytest.mark.parametrize("stage", ["prepare_corpus", "train_lm"])
def test_a_corpus_is_measured_by_its_tokens_and_a_model_by_its_operations(stage: str, artifacts: Path) -> None:
    """The manifest of a language model has numbers of tokens, too, which were taken for its work."""
    network = {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    lm = {"network": {**network, "intermediate_size": 128}, "heldout_points": 0}
    reader = {"_target_": "qurating.corpus.embedded.Embedded", "max_characters_per_domain": 2_000_000}
    corpus = {"reader": reader, "heldout_fraction": 0.1, "sequence_length": 64, "tokenizer": None}
    for name, maker, inputs, settings in (
        ("corpora/mine", "prepare_corpus", {}, {**corpus, "vocabulary_size": 1000}),
        ("subsets/mine", "select", {"corpus": "corpora/mine (0)"}, {"rule": {"num_tokens": 500}}),
        ("orders/mine", "order", {"corpus": "corpora/mine (0)", "subset": "subsets/mine (0)"}, {}),
        ("models/mine", "train_lm", {"corpus": "corpora/mine (0)", "order": "orders/mine (0)"}, lm),
    ):
        with building(Artifact(artifacts / name, maker, inputs, settings)) as work:
            work.counts = {"tokens": 500, "heldout_tokens": 50, "sequences": 10}
    found = estimates.Estimates({}, artifacts)._measured(
        f"{'corpora' if 'corpus' in stage else 'models'}/mine", {stage}
    )
    assert found is not None
    matrices = 2 * (4 * 64 * 64 + 3 * 64 * 128) + 64 * 1000
    assert found.amount == (550 if stage == "prepare_corpus" else 6 * 500 * matrices)


def test_settings_that_no_formula_knows_are_unknown(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("num_tokens")

    monkeypatch.setattr(estimates, "work", broken)
    found = plan(f"paths.artifacts={artifacts}", "stage=[select,order]", "selection=uniform")
    assert "KeyError: 'num_tokens'" in by_stage(found)["select"][0]["unknown"][0]
    assert by_stage(found)["order"][0]["hours"] is None
    assert found["totals"]["unknown"] == 2
