"""Every training has a run, whatever its state."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from artifact_example import flip_a_byte, publish
from results_example import corpus, evaluated, evaluation, make, run, trained

from qurating.artifacts.artifact import Artifact
from qurating.artifacts.files import read_json, sha256, write_json
from qurating.artifacts.manifest import read_manifest, sealed
from qurating.artifacts.seeds import replicated
from qurating.evaluation.methods import rows
from qurating.evaluation.runs import Run, find_runs


def only(root: Path) -> Run:
    (found,) = find_runs(root)
    return found


def interrupted(artifact: Artifact, error: type[BaseException]) -> None:
    """Begin an artifact, write a file, and fail."""

    def build(folder: Path) -> dict[str, Any]:
        (folder / "checkpoint").write_text("half")
        raise error

    with pytest.raises(error):
        publish(artifact, build)


def test_a_complete_run(tmp_path: Path) -> None:
    source = run(tmp_path, "educational_value top-k", 3.25, seed=2, ordering="folding", labels=("simulated judge",))
    found = only(tmp_path)
    assert (found.source, found.state, found.problem) == (source, "complete", "")
    assert found.label == "educational_value top-k, folding"
    assert not found.is_uniform
    assert (found.seed, found.seeds) == ("2", {"select": 2, "order": 2, "train_lm": 2})
    assert found.measures["nats_per_token"] == 3.25
    assert set(found.chain) == {"prepare_corpus", "select", "order", "train_lm", "evaluate"}


def test_the_seed_of_a_replicate_is_readable(tmp_path: Path) -> None:
    texts = corpus(tmp_path, seed=3)
    for number in (0, 1, 12):
        run(tmp_path, f"of replicate {number}", 3.0, replicated(3, number), texts=texts)
    run(tmp_path, "of its own", 3.0, 4, texts=texts)
    assert {each.label: each.seed for each in find_runs(tmp_path)} == {
        **{"of replicate 0": "3", "of replicate 1": "3 r1", "of replicate 12": "3 r12", "of its own": "4"}
    }


def test_the_baseline_is_uniform_and_shuffled(tmp_path: Path) -> None:
    run(tmp_path, "uniform", 3.0)
    run(tmp_path, "uniform", 3.0, ordering="sorting")
    assert {found.label: found.is_uniform for found in find_runs(tmp_path)} == {
        "uniform": True,
        "uniform, sorting": False,
    }


def test_damaged_evaluations_have_no_numbers(tmp_path: Path) -> None:
    for label in ("one", "two", "three"):
        run(tmp_path, label, 3.0)
    folder = tmp_path / "evaluations"
    flip_a_byte(folder / "lm-one-shuffle-0/metrics.json")  # the same size: only its hash tells
    (folder / "lm-two-shuffle-0/sequences.parquet").unlink()
    file = folder / "lm-three-shuffle-0/manifest.json"
    file.write_text(file.read_text().replace('"nats_per_token": 3.0', '"nats_per_token": 2.0'))
    found = {each.label: each for each in find_runs(tmp_path)}
    assert {each.state for each in found.values()} == {"damaged"}
    assert all(not each.measures for each in found.values() if each.label != "two")
    assert "metrics.json is not the one that was written" in found["one"].problem
    assert "sequences.parquet is missing" in found["two"].problem
    # its manifest says nothing reliable, not even the name of the method
    assert "its checksum" in found["evaluations/lm-three-shuffle-0"].problem


def test_trainings_and_evaluations_that_have_not_ended_or_failed(tmp_path: Path) -> None:
    model = trained(tmp_path, "uniform", seed=3)
    manifest = read_json(tmp_path / "models/lm-uniform-shuffle-3/manifest.json")
    again = Artifact(tmp_path / "models/lm-other", "train_lm", manifest["inputs"], manifest["config"] | {"seed": 4})
    interrupted(again, RuntimeError)
    state = {each.source: (each.state, each.label, each.seed) for each in find_runs(tmp_path)}
    assert state == {
        "models/lm-other": ("training failed", "uniform", "3/3/4"),
        model: ("not evaluated", "uniform", "3"),
    }
    plan = tmp_path / "models/.lm-other.plan.json"
    write_json(plan, {key: value for key, value in read_json(plan).items() if key != "failed"})  # as a kill leaves it
    interrupted(evaluation(tmp_path, model, 3.0), KeyboardInterrupt)
    state = {each.source: (each.state, each.label, each.seed) for each in find_runs(tmp_path)}
    assert state == {
        "models/lm-other": ("training not finished", "uniform", "3/3/4"),
        "evaluations/lm-uniform-shuffle-3": ("evaluation failed", "uniform", "3"),
    }


def test_other_stages_and_the_rest_of_a_kill_are_no_runs(tmp_path: Path) -> None:
    run(tmp_path, "uniform", 3.0)
    folder = tmp_path / "models"
    identity = read_manifest(folder / "lm-uniform-shuffle-0/manifest.json")["identity"]
    write_json(folder / ".lm-uniform-shuffle-0.plan.json", {"identity": identity, "counts": {}})
    write_json(folder / ".rater.plan.json", {"identity": {**identity, "stage": "train_rater"}})
    (folder / ".torn.plan.json").write_text('{"identity')
    (folder / ".lm-old.replaced").mkdir()
    (folder / ".lm-old.replaced/manifest.json").write_text((folder / "lm-uniform-shuffle-0/manifest.json").read_text())
    assert only(tmp_path).state == "complete"


def test_an_evaluation_of_a_model_that_was_replaced_is_told(tmp_path: Path) -> None:
    model = trained(tmp_path)
    evaluated(tmp_path, model, 3.0)
    file = tmp_path / "models/lm-uniform-shuffle-0/manifest.json"
    changed = {key: value for key, value in read_json(file).items() if key not in ("fingerprint", "checksum")}
    changed["identity"]["config"]["lr"] = 1.0
    write_json(file, sealed(changed))
    states = {each.state: each for each in find_runs(tmp_path)}
    assert set(states) == {"origin unknown", "not evaluated"}
    assert f"{model} was replaced since" in states["origin unknown"].problem
    assert states["origin unknown"].measures["nats_per_token"] == 3.0


def test_a_model_that_is_gone_leaves_its_number_without_a_method(tmp_path: Path) -> None:
    run(tmp_path, "uniform", 3.0)
    (tmp_path / "orders/uniform-shuffle-0").rename(tmp_path / "away")
    found = only(tmp_path)
    assert found.state == "origin unknown"
    assert "orders/uniform-shuffle-0 is not here" in found.problem


def test_a_model_of_another_stage_is_of_no_method(tmp_path: Path) -> None:
    proxy = make(tmp_path, "models/proxy", "pretrain_proxy", {"corpus": corpus(tmp_path)}, {})
    evaluated(tmp_path, proxy, 3.0)
    found = only(tmp_path)
    assert (found.state, found.problem) == ("origin unknown", "its model was made by pretrain_proxy")
    assert rows([found])[0]["loss"] == 3.0


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_diverged_model_has_no_number(tmp_path: Path, loss: float) -> None:
    run(tmp_path, "uniform", loss)
    found = only(tmp_path)
    assert (found.state, found.measures) == ("diverged", {})


def test_metrics_without_a_loss_are_damage(tmp_path: Path) -> None:
    run(tmp_path, "uniform", 3.0)
    folder = tmp_path / "evaluations/lm-uniform-shuffle-0"
    manifest = {k: v for k, v in read_json(folder / "manifest.json").items() if k not in ("fingerprint", "checksum")}
    (folder / "metrics.json").write_text(json.dumps({"overall": {"nats_per_token": None}}))
    size = (folder / "metrics.json").stat().st_size
    manifest["files"]["metrics.json"] = {"bytes": size, "sha256": sha256(folder / "metrics.json")}
    write_json(folder / "manifest.json", sealed(manifest))
    assert "no loss over all held-out tokens" in only(tmp_path).problem
