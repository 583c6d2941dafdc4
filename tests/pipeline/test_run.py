"""The main job at its smallest size, through the command line, as a person would run it."""

import csv
import glob
import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hydra import compose
from offline_runs import read_runs
from omegaconf import OmegaConf
from repository import ROOT
from whole_runs import check_same, command, kill_at, manifests, run

from qurating import dashboard
from qurating.artifacts.artifact import Artifact
from qurating.artifacts.publishing import building
from qurating.metrics.loss_curve import loss_curve
from qurating.pipeline import run as pipeline_run
from qurating.pipeline.naming import STAGES, name_artifacts
from qurating.training import tracking

NOT_NEEDED = {"import_judgments", "import_ratings", "analyse"}  # by a cell of the main job


def test_the_sweep_makes_every_artifact_and_prints_its_table(finished: tuple[Path, str]) -> None:
    artifacts, printed = finished
    assert len(re.findall(r"^\[\d/8\]", printed, re.MULTILINE)) == 16
    made = manifests(artifacts)
    kinds = sorted(name.split("/")[0] for name in made)
    assert kinds == sorted(
        ["corpora", "judgments", "ratings", "analyses", *["models"] * 3, *["subsets", "orders", "evaluations"] * 2]
    )
    report = Path(printed.strip().splitlines()[-1].removeprefix("Report: "))
    page = report.read_text(encoding="utf-8")
    assert "simulated" in page
    with open(report.parent / "table.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2
    assert "educational_value top-k" in printed


def test_simulated_judgments_label_whatever_comes_of_them(finished: tuple[Path, str]) -> None:
    for name, manifest in manifests(finished[0]).items():
        untouched = name.startswith("corpora/") or "uniform" in name
        assert manifest["labels"] == ([] if untouched else ["simulated judge"]), name


def test_the_budget_is_met_by_every_method(finished: tuple[Path, str]) -> None:
    for name, manifest in manifests(finished[0]).items():
        if name.startswith("subsets/"):
            assert 30_000 <= manifest["counts"]["tokens"] < 30_000 + 7 * 256  # one sequence a domain crosses


def test_the_report_leaves_out_what_a_method_did_not_use(finished: tuple[Path, str]) -> None:
    (analysis,) = [m for name, m in manifests(finished[0]).items() if name.startswith("analyses/")]
    cells: dict[str, set[str]] = {key.split(".")[1]: set() for key in analysis["inputs"]}
    for key in analysis["inputs"]:
        cells[key.split(".")[1]].add(key.split(".")[2])
    assert cells["1"] - cells["0"] == {"judge", "train_rater", "rate"}  # top-k reads ratings, uniform does not


def test_inputs_of_another_version_of_the_corpus_are_refused(finished: tuple[Path, str], tmp_path: Path) -> None:
    copy = tmp_path / "artifacts"
    shutil.copytree(finished[0], copy)
    (corpus,) = copy.glob("corpora/[!.]*")
    with building(Artifact(corpus, "prepare_corpus", {}, {"seed": 7}, overwrite=True)) as work:
        work.counts = {}
    arguments = ["hydra.mode=RUN", "stage=[order]", "artifacts.order=orders/mine"]
    found = subprocess.run(command(copy, *arguments), capture_output=True, text=True, timeout=1200, cwd=ROOT)
    assert found.returncode == 1
    assert "was made from corpora/embedded" in found.stderr
    assert "overwrite=true" in found.stderr


def test_nothing_held_out_is_selected(finished: tuple[Path, str]) -> None:
    import pyarrow.parquet as pq

    corpus = next(finished[0].glob("corpora/[!.]*"))
    held_out = set().union(*(pq.read_table(f)["id"].to_pylist() for f in (corpus / "heldout").glob("*.parquet")))
    assert held_out
    for subset in finished[0].glob("subsets/*/subset.parquet"):
        assert not held_out & set(pq.read_table(subset)["id"].to_pylist())


def test_tokens_lie_in_the_order_laid_down(finished: tuple[Path, str]) -> None:
    import numpy as np
    import pyarrow.parquet as pq

    corpus = next(finished[0].glob("corpora/[!.]*"))
    by_id: dict[int, list[int]] = {}
    for file in (corpus / "train").glob("*.parquet"):
        table = pq.read_table(file, columns=["id", "input_ids"])
        by_id |= dict(zip(table["id"].to_pylist(), table["input_ids"].to_pylist(), strict=True))
    for order in finished[0].glob("orders/*/order.parquet"):
        ids = pq.read_table(order)["id"].to_pylist()
        expected = [token for sequence in ids for token in by_id[sequence]]
        assert np.load(order.parent / "tokens.npy").tolist() == expected


def test_models_load_as_hugging_face_folders(finished: tuple[Path, str]) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    for folder in finished[0].glob("models/[!.]*"):
        kind = AutoModelForCausalLM if folder.name.startswith("lm-") else AutoModelForSequenceClassification
        model = kind.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert model(**tokenizer("a text", return_tensors="pt")).logits.isfinite().all()


def test_a_second_run_skips_everything(finished: tuple[Path, str]) -> None:
    artifacts, _ = finished
    before = manifests(artifacts)
    printed = run(artifacts, "selection=uniform,top_k")
    assert printed.count("skipped: complete since") == 17
    assert "done in" not in printed
    assert manifests(artifacts) == before


def test_a_failed_cell_leaves_the_others_alone(finished: tuple[Path, str], tmp_path: Path) -> None:
    copy = tmp_path / "artifacts"
    shutil.copytree(finished[0], copy)
    arguments = ["selection=uniform,top_r,top_k", "selection.fraction=2"]
    found = subprocess.run(command(copy, *arguments), capture_output=True, text=True, timeout=1200, cwd=ROOT)
    assert found.returncode == 1
    table, _, told = found.stdout.rpartition("\n\n")
    first, second, *_ = told.splitlines()
    assert first == "1 of 3 cells failed:"
    assert second.startswith("  1 (selection=top_r): ")
    assert second.endswith("the fraction must lie in (0, 1], not 2")
    assert found.stderr.count("\nError: ") == 1
    assert "Traceback" not in found.stderr
    # the others are compared
    assert {"uniform", "educational_value top-k"} <= {line.split("  ")[0].strip() for line in table.splitlines()}
    assert "Report: " in table
    before, after = manifests(finished[0]), manifests(copy)
    (compared,) = {*after} - {*before}  # another page: it names the cell that is missing
    assert after[compared]["config"]["failed"] == ["selection=top_r"]
    assert {name: after[name] for name in before} == before


def test_two_processes_train_the_same_models(finished: tuple[Path, str]) -> None:
    from safetensors.torch import load_file

    artifacts, _ = finished
    arguments = ["hydra.mode=RUN", "stage=[train_rater,train_lm]", "trainer.devices=2", "+trainer.strategy=ddp"]
    arguments += ["artifacts.train_rater=models/two-rater", "artifacts.train_lm=models/two-lm"]
    _, *rest = command(artifacts, *arguments)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    found = subprocess.run([*launcher, *rest], capture_output=True, text=True, timeout=1200, cwd=ROOT)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
    for two, one in (("two-rater", "rater-smoke*"), ("two-lm", "lm-smoke*uniform*")):
        weights = load_file(artifacts / "models" / two / "model.safetensors")
        (folder,) = artifacts.glob(f"models/{one}")
        for name, expected in load_file(folder / "model.safetensors").items():
            # Adam turns rounding in small gradients into steps of the size of the rate
            assert (weights[name] - expected).abs().mean() < 1e-4, (two, name)
    shutil.rmtree(artifacts / "models" / "two-rater")
    shutil.rmtree(artifacts / "models" / "two-lm")


def test_every_cell_is_a_run_of_the_tracker_with_all_stages_and_so_is_the_comparison(
    finished: tuple[Path, str], tmp_path: Path
) -> None:
    artifacts, _ = finished
    runs = {run.name.split(",")[0]: run for run in read_runs(artifacts / "wandb").values()}
    uniform, by_rating = (
        runs["lm-smoke-select_30K_tokens_uniform-across_domains"],
        runs["lm-smoke-select_30K_tokens_by-educational_value-top_k-across_domains"],
    )
    assert {run.group for run in runs.values()} == {f"{artifacts}/sweep"}
    assert {"scale=smoke", "selection=uniform", "train_lm"} <= {*uniform.tags}
    for cell in (uniform, by_rating):
        # also what a cell found complete
        assert {key.split("/")[0] for key in cell.logged()} == {*cell.tags} & {*STAGES} - NOT_NEEDED
        (curve,) = artifacts.glob(f"models/{glob.escape(cell.name)}/curve.parquet")
        points = loss_curve(pq.read_table(curve))
        assert cell.points("train_lm/heldout/nats_per_token") == [(each.tokens, each.nats_per_token) for each in points]
        with open(curve.with_name("metrics.csv"), newline="", encoding="utf-8") as stream:
            losses = [(int(row["step"]), float(row["train/loss"])) for row in csv.DictReader(stream)]
        assert cell.points("train_lm/train/loss") == losses
        assert len([row for row in cell.history if "select/examples" in row]) == 1
        assert cell.exit_codes == [0]
    assert (len(uniform.made), len(uniform.used)) == (8, 0)
    assert {name.split("-")[0] for name in by_rating.made} == {"subsets", "orders", "models", "evaluations"}
    assert {name.split("-")[0] for name in by_rating.used} == {"corpora", "judgments", "models", "ratings"}
    assert {"analyse/changes", "analyse/table", "analyse/methods"} <= runs["comparison"].logged()
    assert len(runs) == 3


def test_the_docs_name_everything_that_runs_log_and_nothing_else(finished: tuple[Path, str]) -> None:
    page = (ROOT / "docs/tracking.md").read_text(encoding="utf-8").split("## What is logged")[1]
    always, sometimes = page.split("Some are logged only if")
    logged = {key for run in read_runs(finished[0] / "wandb").values() for key in run.logged()}

    def patterns(text: str) -> list[re.Pattern[str]]:
        rows = [line.split("|")[2] for line in text.splitlines() if line.startswith("|")]
        names = [name for row in rows for name in re.findall(r"`([^`]+/[^`]+)`", row)]
        return [re.compile(re.sub(r"<\w+>", ".+", re.escape(name))) for name in names]

    assert len(patterns(always)) > 60
    unnamed = {key for key in logged if not any(p.fullmatch(key) for p in [*patterns(always), *patterns(sometimes)])}
    assert unnamed == set()
    assert [p.pattern for p in patterns(always) if not any(map(p.fullmatch, logged))] == []


def test_the_panels_of_the_dashboard_show_what_runs_have_logged(finished: tuple[Path, str], tmp_path: Path) -> None:
    artifacts, _ = finished
    logged = dashboard.read_logged(artifacts, None, None, f"{artifacts}/sweep")
    panels = dashboard.panels(logged)
    assert list(panels) == [*dashboard.SECTIONS]
    runs = read_runs(artifacts / "wandb").values()
    has_data = {key for run in runs for row in run.history for key in row} | {
        key for run in runs for key in run.summary
    }
    shown = {metric for each in panels.values() for _, metrics in each for metric in metrics}
    assert shown - has_data == set()
    assert logged.curves == {metric: x for run in runs for metric, x in run.axes.items()}
    for name in ("train_lm/heldout/nats_per_token", "rate/educational_value", "select/examples", "analyse/changes"):
        assert name in shown


def test_a_second_command_adds_nothing_to_the_runs_and_no_secret_is_in_a_file_of_the_tracker(
    finished: tuple[Path, str], tmp_path: Path
) -> None:
    artifacts, _ = finished
    before = read_runs(artifacts / "wandb")
    secrets = {"OPENAI_API_KEY": "sk-canary-by-name", "PLAIN": "canary-by-interpolation", "HOME": str(tmp_path)}
    leaks = ["+rater.network.api_key=canary-by-override", "+judge.request_options.note='of ${oc.env:PLAIN}'"]
    leaks += ["+rater.network.headers={X-Api-Key: canary-in-header}", "judge.model='me:${oc.env:PLAIN}'"]
    leaks += ["+judge.request_options.copy=sk-canary-by-name"]
    # no stage that is run has these settings
    arguments = ["hydra.mode=RUN", "selection=uniform", "stage=[select,order]", "logger=wandb", *leaks]
    found = subprocess.run(
        command(artifacts, *arguments),
        env={key: value for key, value in os.environ.items() if not key.startswith("WANDB")} | secrets,
        capture_output=True,
        text=True,
        timeout=1200,
        cwd=ROOT,
    )
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
    after = read_runs(artifacts / "wandb")
    assert {run_id: run.history for run_id, run in after.items()} == {i: run.history for i, run in before.items()}
    (changed,) = (run for run in after.values() if run.exit_codes == [0, 0])
    assert changed.config["judge"]["request_options"] == {
        "note": "of (redacted)",
        "copy": "(redacted)",
    }
    assert changed.config["judge"]["model"] == "me:(redacted)"
    assert changed.config["rater"]["network"]["headers"] == {"X-Api-Key": "(redacted)"}
    for file in [*(artifacts / "wandb").rglob("*"), *tmp_path.rglob("*")]:
        assert not file.is_file() or b"canary" not in file.read_bytes(), file


def test_another_setting_under_the_same_name_is_refused(finished: tuple[Path, str]) -> None:
    artifacts, _ = finished
    subset = next(name for name in manifests(artifacts) if name.startswith("subsets/") and "uniform" in name)
    corpus = next(name for name in manifests(artifacts) if name.startswith("corpora/"))
    # quoted for Hydra: the names hold commas and equals signs
    named = [f'artifacts.select="{subset}"', f'artifacts.prepare_corpus="{corpus}"']
    found = subprocess.run(
        command(artifacts, "hydra.mode=RUN", "seed=1", "stage=[select]", *named),
        capture_output=True,
        text=True,
        timeout=1200,
        cwd=ROOT,
    )
    assert found.returncode == 1
    assert "config.seed: 0 before, 1 now" in found.stderr
    assert "artifacts.select=<kind>/<name>" in found.stderr
    assert "overwrite=true" in found.stderr
    assert "Traceback" not in found.stderr


def test_killed_at_a_random_stage_and_run_again_it_ends_the_same(finished: tuple[Path, str], tmp_path: Path) -> None:
    reference, _ = finished
    stages = ["prepare_corpus", "judge", "train_rater", "rate", "select", "order", "train_lm", "evaluate", "analyse"]
    stage = random.choice(stages)
    arguments = ["hydra.mode=RUN", "selection=top_k"]
    delay = kill_at(tmp_path, stage, *arguments)
    run(tmp_path, *arguments)
    check_same(reference, tmp_path, {stage: delay})
    (table,) = [json.loads(f.read_text(encoding="utf-8")) for f in tmp_path.glob("analyses/*/table.json")]
    assert "top-k" in json.dumps(table)


def test_a_rater_that_is_named_by_its_folder_passes_its_label_on(untouched: Path, tmp_path: Path) -> None:
    shutil.copytree(untouched / "corpora", tmp_path / "corpora")
    (rater,) = untouched.glob("models/rater-*")
    shutil.copytree(rater, tmp_path / "mine")
    run(tmp_path, "hydra.mode=RUN", "selection=top_k", "stage=[rate,select]", f"rater.from_pretrained={tmp_path}/mine")
    made = {name.split("/")[0]: manifest["labels"] for name, manifest in manifests(tmp_path).items()}
    assert made == {"corpora": [], "ratings": ["simulated judge"], "subsets": ["simulated judge"]}


@pytest.mark.usefixtures("conf")
def test_the_stages_of_a_language_model_share_a_run_of_the_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    def tracked(*stages: str, more: str = "seed=0") -> dict[str, Any]:
        overrides = ["+experiment=lqs_scorer", f"stage=[{','.join(stages)}]", more]
        cell = {stage: name for stage, name in name_artifacts(overrides).items() if name}
        monkeypatch.setattr(tracking, "csv_only", lambda **given: given)
        config = compose("config", overrides)
        opened: Any = pipeline_run.tracked(config, *pipeline_run._tracked_as(config, cell))
        return dict(opened)

    runs = {"scores": tracked("prepare_corpus", "score"), "before": tracked("select", "order")}
    runs |= {"after": tracked("train_lm", "evaluate"), "whole": tracked("score", "select", "train_lm", "analyse")}
    runs |= {"with analysis": tracked("evaluate", "analyse_ratings"), "analysis": tracked("analyse_ratings")}
    ids = {name: run["run_id"] for name, run in runs.items()}
    assert ids["before"] == ids["after"] == ids["whole"] == ids["with analysis"] != ids["scores"]
    assert ids["analysis"] not in (ids["whole"], ids["scores"])  # of the corpus, and of no cell
    assert runs["analysis"]["name"] == "scorer-tiny-of-tiny-towards-heldout-stdlib_docstrings"
    assert runs["scores"]["name"] == "scorer-tiny-of-tiny-towards-heldout-stdlib_docstrings"
    # cells of one selection have names of their own
    names = [
        tracked("train_lm", more=each)["name"] for each in ("seed=0", "ordering=folding", "model.optimizer.lr=0.1")
    ]
    assert len({*names}) == 3
    assert all("select_400K_tokens_uniform-across_domains" in name for name in names)


@pytest.mark.usefixtures("conf")
def test_a_cell_lists_what_its_stages_make_and_read(tmp_path: Path) -> None:
    def listed(*overrides: str) -> set[str]:
        config = compose("config", [f"paths.artifacts={tmp_path}", *overrides])
        names = name_artifacts(overrides)
        OmegaConf.update(config, "artifacts", names)
        stages = [stage for stage in STAGES if stage in config.stages and names[stage] and stage != "analyse"]
        cell = {stage: name for stage, name in names.items() if name}
        return set(pipeline_run.made_or_read(config, stages, cell))

    after = {"select", "order", "train_lm", "evaluate"}
    assert listed() == {"prepare_corpus", "judge", "train_rater", "rate"} | after
    assert listed("stage=[prepare_corpus]") == {"prepare_corpus"}
    assert listed("stage=[order_lines]", "stages.order_lines.paths=x.jsonl") == {"order_lines"}
    assert listed("stage=[select]", "selection=top_k") == {"prepare_corpus", "rate", "select"}
    # what is complete already is followed to what it was made from
    names = name_artifacts(["selection=top_k"])
    made_from = {"rate": ["train_rater"], "train_rater": ["judge"], "judge": ["prepare_corpus"]}
    made_from |= {"evaluate": ["train_lm"], "train_lm": ["order"], "order": ["select"], "select": ["rate"]}
    for stage, inputs in made_from.items():
        folder = tmp_path / names[stage]
        folder.mkdir(parents=True)
        given = {key: f"{names[key]} (0123456789ab)" for key in inputs}
        (folder / "manifest.json").write_text(json.dumps({"inputs": given}), encoding="utf-8")
    before = {"prepare_corpus", "judge", "train_rater", "rate"}
    assert listed("stage=[select]", "selection=top_k") == {*before, "select"}
    assert listed("stage=[analyse]", "selection=top_k") == before | after
    (tmp_path / names["rate"] / "manifest.json").write_text("{", encoding="utf-8")
    assert listed("stage=[select]", "selection=top_k") == {"prepare_corpus", "rate", "select"}
