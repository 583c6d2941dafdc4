"""Checks before the work starts, on the configurations that people run."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hub_server import TOKEN, Hub
from hydra import compose
from omegaconf import DictConfig, OmegaConf
from repository import ROOT

from qurating.artifacts.files import write_json
from qurating.artifacts.manifest import sealed
from qurating.pipeline import preflight
from qurating.pipeline.naming import STAGES, name_artifacts
from qurating.runtime import hub as runtime_hub
from qurating.runtime.errors import StageError

LQS = "+experiment=lqs_scorer"


def composed(artifacts: Path, *overrides: str) -> tuple[DictConfig, list[str]]:
    """A config with final names, and the stages that it needs."""
    config = compose("config", [*overrides, f"paths.artifacts={artifacts}"])
    names = name_artifacts(list(overrides))
    for stage, name in names.items():
        OmegaConf.update(config, f"artifacts.{stage}", name)
    return config, [stage for stage in STAGES if stage in config.stages and names[stage]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[set[str], set[str]]]:
    """The models and data sets of each call of `hub.check_access`, which lets everything pass."""
    calls: list[tuple[set[str], set[str]]] = []

    def note(models: list[str | None], datasets: list[str | None]) -> None:
        calls.append(({m for m in models if m}, {d for d in datasets if d}))

    monkeypatch.setattr(runtime_hub, "check_access", note)
    return calls


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize(
    ("overrides", "models", "datasets"),
    [
        (
            [LQS, "scale=paper"],
            {"Data-Selection/BSL-160M", "KoboldAI/fairseq-dense-125M"},
            {"cerebras/SlimPajama-627B", "GAIR/lima"},
        ),
        (
            [LQS, "scale=paper", "scorer.from_pretrained=lab/scorer"],
            {"Data-Selection/BSL-160M", "lab/scorer"},  # of the former the tokenizer
            {"cerebras/SlimPajama-627B"},
        ),
        (
            ["scale=paper"],
            {"meta-llama/Llama-2-7b-hf", "princeton-nlp/Sheared-LLaMA-1.3B"},
            {"cerebras/SlimPajama-627B"},
        ),
        (["corpus=hub", "corpus.dataset=lab/data", "corpus.data_files=en/a.jsonl"], set(), {"lab/data"}),
        ([LQS, "annotation.model=models/mine"], {"models/mine"}, set()),
    ],
)
def test_the_hub_is_asked_for_all_that_is_loaded_from_it(
    overrides: list[str], models: set[str], datasets: set[str], tmp_path: Path, asked: list[tuple[set[str], set[str]]]
) -> None:
    preflight.check_access(*composed(tmp_path, *overrides))
    assert asked == [(models, datasets)]


@pytest.mark.usefixtures("conf")
def test_complete_artifacts_and_local_files_need_no_hub(tmp_path: Path, asked: list[tuple[set[str], set[str]]]) -> None:
    preflight.check_access(*composed(tmp_path, LQS))
    preflight.check_access(*composed(tmp_path, "corpus=fineweb", "corpus.token_variable=LAB_TOKEN"))
    assert asked == []
    made = tmp_path / "annotations/delt-towards-lima"
    made.mkdir(parents=True)
    (made / "manifest.json").write_text("{}")
    preflight.check_access(*composed(tmp_path, LQS, "scale=paper", "stage=[annotate_proxy]"))
    assert asked == []
    preflight.check_access(*composed(tmp_path, LQS, "scale=paper", "stage=[annotate_proxy]", "overwrite=true"))
    assert asked == [({"Data-Selection/BSL-160M"}, set())]


@pytest.mark.usefixtures("conf")
def test_more_devices_than_processes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, _ = composed(tmp_path, LQS, "trainer.devices=4")
    with pytest.raises(StageError, match=r"trainer.devices=4 on 1 node.* need 4 processes, but this run has 1"):
        preflight.check_processes(config, ["annotate_proxy"])
    preflight.check_processes(config, ["prepare_corpus", "sample_proxy", "score", "select"])
    monkeypatch.setenv("WORLD_SIZE", "4")
    preflight.check_processes(config, ["annotate_proxy"])


@pytest.mark.usefixtures("conf")
def test_a_budget_beyond_the_corpus_is_refused_at_once(tmp_path: Path) -> None:
    corpus = tmp_path / "corpora/small"
    corpus.mkdir(parents=True)
    content = {"stage": "prepare_corpus", "identity": {}, "files": {}, "counts": {"tokens": 1000}}
    write_json(corpus / "manifest.json", sealed(content))
    config, _ = composed(tmp_path, "num_tokens=1001")
    with pytest.raises(StageError, match="small has only 1,000 tokens to select num_tokens=1,001 from"):
        preflight.check_budget(config, corpus)
    for overrides in (["num_tokens=1000"], ["selection=top_r"], ["selection=threshold"]):
        preflight.check_budget(composed(tmp_path, *overrides)[0], corpus)
    pool, _ = composed(tmp_path, "selection=pool", "num_tokens=250")
    with pytest.raises(StageError, match=r"small: the budget is 250 tokens, and the pool has 200.* at least 0\.25"):
        preflight.check_budget(pool, corpus)
    pool.num_tokens = 200
    preflight.check_budget(pool, corpus)


@pytest.mark.usefixtures("conf")
def test_a_target_set_that_nothing_makes_is_refused_before_the_training(tmp_path: Path) -> None:
    other = "[targets/heldout-stdlib_docstrings,targets/mine]"
    config, stages = composed(tmp_path, "+experiment=baselines", "selection=dsir", f"evaluation_without={other}")
    with pytest.raises(StageError, match=r"evaluation_without: .*targets/mine does not exist: make it"):
        preflight.check_targets(config, stages)
    config.importance_target = "targets/yours"
    with pytest.raises(StageError, match=r"importance_target: .*targets/yours does not exist"):
        preflight.check_targets(config, stages)
    preflight.check_targets(config, ["prepare_target", "annotate_proxy"])
    for name in ("mine", "yours"):
        (tmp_path / "targets" / name).mkdir(parents=True)
        (tmp_path / "targets" / name / "manifest.json").write_text("{}")
    preflight.check_targets(config, stages)
    config.evaluation_without = None
    preflight.check_targets(config, stages)


def test_a_gate_stops_the_run_before_any_work(tmp_path: Path) -> None:
    """The command that people will type, against a Hub on which LIMA is gated."""
    hub = Hub()
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))}
    clean |= {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "hub"), "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, str(ROOT / "run.py"), LQS, "scale=paper", "trainer=cpu", "hydra.mode=RUN"]
    command += [f"paths.artifacts={tmp_path}/artifacts", f"hydra.run.dir={tmp_path}/outputs"]
    found = subprocess.run(command, env=clean, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    hub.shutdown()
    hub.server_close()
    assert found.returncode == 1, found.stdout + found.stderr
    assert "not needed: pretrain_proxy, rescore_proxy\n" in found.stdout
    assert f"GAIR/lima (data set): it is gated and you have no access: ask for access at {hub.url}" in found.stderr
    assert "HF_TOKEN" in found.stderr
    assert TOKEN not in found.stdout + found.stderr
    assert "Traceback" not in found.stderr
    assert "] prepare_corpus:" not in found.stdout
    assert not (tmp_path / "artifacts").exists()
    questions = {path for path, _ in hub.asked}
    assert "/api/models/Data-Selection/BSL-160M/auth-check" in questions
    assert "/api/datasets/cerebras/SlimPajama-627B/auth-check" in questions


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "annotation.denominator=foo",
            "denominator=foo is none of next_visited, next_step, same_step, none",
        ),
        ("annotation.contribution_interval=40", "an interval of 40 visits none of the steps 1 to 39"),
    ],
)
def test_an_annotation_that_means_nothing_is_refused_before_the_first_stage(
    tmp_path: Path, override: str, message: str
) -> None:
    config, stages = composed(tmp_path, LQS, override)
    with pytest.raises(StageError, match=message):
        preflight.check_annotation(config, stages)
    preflight.check_annotation(*composed(tmp_path, LQS))


@pytest.mark.usefixtures("conf")
def test_missing_files_are_reported_with_the_artifact_made_from_them(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    overrides = ["corpus=jsonl", f"corpus.paths={file}"]
    config, stages = composed(tmp_path, *overrides)
    with pytest.raises(StageError, match=r"corpus\.paths: no file matches .*mine\.jsonl \(looked in .*\)\. Put"):
        preflight.check_files(config, stages)
    made = tmp_path / str(config.artifacts.prepare_corpus)
    made.mkdir(parents=True)
    (made / "manifest.json").write_text("{}")
    with pytest.raises(StageError, match=rf"The artifact made from them is still complete: {made}"):
        preflight.check_files(config, stages)
    file.write_text("{}\n")
    preflight.check_files(*composed(tmp_path, *overrides))


TASKS = ("stage=[train_lm,evaluate_tasks]", "selection=uniform")


@pytest.mark.usefixtures("conf")
def test_tasks_that_cannot_be_evaluated_are_refused_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StageError, match="each only once"):
        preflight.check_tasks(*composed(tmp_path, *TASKS, "tasks.tasks=[piqa,piqa]"))
    for name in [name for name in sys.modules if name.split(".")[0] == "lm_eval"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lm_eval", None)  # importing it raises ImportError
    config, stages = composed(tmp_path, *TASKS)
    with pytest.raises(StageError, match=r"pip install -e '\.\[tasks\]'"):
        preflight.check(config, stages)
    preflight.check_tasks(config, ["train_lm"])
    preflight.check_tasks(config, ["evaluate_tasks"])  # the stage says it at once
    (tmp_path / config.artifacts.evaluate_tasks).mkdir(parents=True)
    (tmp_path / config.artifacts.evaluate_tasks / "manifest.json").touch()
    preflight.check_tasks(config, stages)
