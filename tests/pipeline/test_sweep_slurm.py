"""A sweep on a real SLURM: one job array, shared artifacts built once, a config that is frozen at submission."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from repository import ROOT
from slurm_clusters import needs_cluster, outside_of_jobs
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from qurating.pipeline.cells import overview

pytestmark = [
    pytest.mark.slurm,
    needs_cluster,
    pytest.mark.timeout(1800),
]

SWEEP = [
    "-m",
    "+experiment=table_1",
    "method=educational_value_top_k,writing_style_inverse_temperature1,mix,curriculum",  # four of its rows
    "hydra/launcher=slurm",
    "hydra.launcher.mem_gb=3",
    "scale=smoke",
    "corpus.reader.max_characters_per_domain=60_000",
    "num_workers=1",
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project, whose YAMLs may be edited."""
    for name in ("conf", "qurating"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "run.py", tmp_path)
    return tmp_path


def submit(copy: Path, number: int, *arguments: str, sweep: list[str] = SWEEP) -> subprocess.Popen[str]:
    environment = outside_of_jobs()
    command = [sys.executable, "run.py", *sweep, f"hydra.sweep.dir=sweep{number}", *arguments]
    return subprocess.Popen(
        command, cwd=copy, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def logs(copy: Path, number: int) -> dict[str, str]:
    """What each task of the array printed, by the id of its job."""
    files = (copy / f"sweep{number}" / ".submitit").glob("*/*_log.out")
    return {file.parent.name: file.read_text(encoding="utf-8") for file in files}


def made(copy: Path) -> dict[str, dict[str, Any]]:
    found = (json.loads(f.read_text(encoding="utf-8")) for f in copy.glob("artifacts/*/[!.]*/manifest.json"))
    return {manifest["name"]: manifest for manifest in found}


def test_a_part_of_table_1_runs_as_one_array_and_shares_what_it_can(copy: Path) -> None:
    # the jobs wait for a while, and meanwhile somebody edits a YAML
    task = submit(copy, 1, "+hydra.launcher.additional_parameters={begin: now+10}")
    started = time.monotonic()
    while not list(copy.glob("sweep1/.submitit/*/*_submitted.pkl")):
        assert time.monotonic() - started < 600
        assert task.poll() is None, task.communicate()[0]
        time.sleep(0.1)
    assert not list(copy.glob("artifacts/*"))
    original = (copy / "conf/config.yaml").read_text(encoding="utf-8")
    (copy / "conf/config.yaml").write_text(original.replace("seed: 0", "seed: 999"), encoding="utf-8")
    smoke = copy / "conf/scale/smoke.yaml"
    smoke_original = smoke.read_text(encoding="utf-8")
    smoke.write_text(smoke_original.replace("30_000", "77_000"), encoding="utf-8")
    printed, _ = task.communicate(timeout=1200)
    assert task.returncode == 0, printed + json.dumps(logs(copy, 1), indent=1)

    tasks = logs(copy, 1)
    assert len(tasks) == 4
    assert len({job.split("_")[0] for job in tasks}) == 1, "one job array"
    for stage in ("prepare_corpus", "judge", "train_rater", "rate"):
        builders = [job for job, log in tasks.items() if "    done in" in part(log, stage)]
        assert len(builders) == 1, f"{stage} was built by {builders}"
    first = made(copy)
    kinds = [name.split("/")[0] for name in first]
    assert {kind: kinds.count(kind) for kind in sorted(set(kinds))} == {
        "analyses": 1,
        "corpora": 1,
        "evaluations": 4,
        "judgments": 1,
        "models": 5,
        "orders": 4,
        "ratings": 1,
        "subsets": 4,
    }
    assert {manifest["seed"] for manifest in first.values()} <= {0, None}, "the edit reached the jobs"
    assert all("select_30K" in name for name in first if name.startswith("subsets/"))
    methods = ("by-educational_value-top_k", "by-writing_style-inverse-sample", "mix_of_criteria-sample", "uniform")
    assert all(f"select_30K_tokens_{method}" in str(first) for method in methods)
    assert "Report: " in printed
    looked = overview.read(copy / "sweep1")  # python -m qurating.status
    assert [(cell.state, cell.stage, cell.place) for cell in looked.cells] == [("finished", "evaluate", 8)] * 4
    assert {cell.job for cell in looked.cells} == tasks.keys()
    assert looked.exit_status == 0

    # a second sweep runs nothing
    (copy / "conf/config.yaml").write_text(original, encoding="utf-8")
    smoke.write_text(smoke_original, encoding="utf-8")
    task = submit(copy, 2)
    printed, _ = task.communicate(timeout=1200)
    assert task.returncode == 0, printed
    assert len(logs(copy, 2)) == 4
    for log in logs(copy, 2).values():
        assert log.count("skipped: complete since") == 8
        assert "done in" not in log
    assert made(copy) == first


def part(log: str, stage: str) -> str:
    """What a task printed in one stage."""
    found = re.search(rf"^\[\d/\d\] {stage}:.*?(?=^\[\d/\d\] |\Z)", log, re.MULTILINE | re.DOTALL)
    return found[0] if found else ""


def test_an_error_in_a_cell_comes_home(copy: Path) -> None:
    task = submit(copy, 1, "stage=[select]")
    printed, _ = task.communicate(timeout=1200)
    assert task.returncode == 1
    assert "4 of 4 cells failed:" in printed
    reasons = re.findall(r"^  \d \(method=\w+\): (.*)\n    log: (.*)$", printed, re.MULTILINE)
    assert len(reasons) == 4
    for reason, log in reasons:
        assert "does not exist yet: add the stage that makes it" in reason
        assert f"Error: {reason}" in " ".join(Path(log).read_text(encoding="utf-8").split())


def test_a_launcher_that_is_killed_leaves_its_tasks_alone(copy: Path) -> None:
    """The tasks go on without it, and the same command again waits for what they build."""
    first = submit(copy, 1)
    while not any("] judge:" in log for log in logs(copy, 1).values()):
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.1)
    first.kill()
    first.communicate()
    second = submit(copy, 2)
    printed, _ = second.communicate(timeout=1200)
    assert second.returncode == 0, printed + json.dumps(logs(copy, 2), indent=1)
    both = logs(copy, 1) | logs(copy, 2)  # by their jobs, which have different ids
    for stage in ("prepare_corpus", "judge", "train_rater", "rate"):
        builders = [job for job, log in both.items() if "    done in" in part(log, stage)]
        assert len(builders) == 1, f"{stage} was built by {builders}"
    assert sum(name.startswith("evaluations/") for name in made(copy)) == 4
    assert "Report: " in printed
    rest = [file.name for file in copy.glob("artifacts/*/.*") if not file.name.endswith((".lock", ".checked.json"))]
    assert rest == []


def test_tasks_of_an_array_share_a_corpus_to_rate(copy: Path) -> None:
    small = SWEEP[SWEEP.index("hydra/launcher=slurm") + 2 :]
    prepare = [sys.executable, "run.py", *small, "hydra.mode=RUN", "stage=[prepare_corpus]"]
    prepare.append("corpus.documents_per_shard=40")
    subprocess.run(prepare, cwd=copy, check=True, capture_output=True, timeout=1200)
    (corpus,) = copy.glob("artifacts/corpora/[!.]*")
    num_shards = len(list((corpus / "train").glob("*.parquet")))
    assert num_shards > 3
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    settings = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = AutoConfig.for_model("llama", **settings, num_labels=4, vocab_size=len(tokenizer))
    AutoModelForSequenceClassification.from_config(config).save_pretrained(copy / "rater")
    tokenizer.save_pretrained(copy / "rater")
    named = ["rater.from_pretrained=rater", "corpus.documents_per_shard=40", "stage=[rate]"]
    sweep = ["-m", *named, "stages.rate.shard=range(3)", *SWEEP[SWEEP.index("hydra/launcher=slurm") :]]
    task = submit(copy, 1, sweep=sweep)
    printed, _ = task.communicate(timeout=1200)
    assert task.returncode == 0, printed + json.dumps(logs(copy, 1), indent=1)
    tasks = logs(copy, 1)
    assert len(tasks) == 3
    assert sum("    done in" in log for log in tasks.values()) == 1
    (ratings,) = copy.glob("artifacts/ratings/[!.]*")
    assert len(list((ratings / "train").glob("*.parquet"))) == num_shards
    assert json.loads((ratings / "manifest.json").read_text(encoding="utf-8"))["counts"]["sequences"] > 0
