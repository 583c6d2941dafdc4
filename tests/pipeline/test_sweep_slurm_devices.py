"""Several devices of one training as tasks of one job, on a real SLURM."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT
from safetensors.torch import load_file
from slurm_clusters import needs_cluster, outside_of_jobs

pytestmark = [
    pytest.mark.slurm,
    needs_cluster,
    pytest.mark.timeout(1800),
]

SMOKE = [
    "run.py",
    "+experiment=select_and_train",
    "selection=uniform",
    "scale=smoke",
    "corpus.reader.max_characters_per_domain=60_000",
    "num_workers=1",
]


def run(folder: Path, *arguments: str) -> str:
    environment = outside_of_jobs()
    command = [sys.executable, *SMOKE, f"paths.artifacts={folder}/artifacts", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1500
    )
    logs = [file.read_text(encoding="utf-8") for file in sorted(folder.glob("sweep/.submitit/*/*_log.*"))]
    assert done.returncode == 0, "\n".join([done.stdout, *logs])
    return "\n".join(logs)


STRATEGY = "pytorch_lightning.strategies.ModelParallelStrategy"
SHARDED = f"+trainer.strategy={{_target_: {STRATEGY},save_distributed_checkpoint: false}}"


def test_two_tasks_of_a_job_train_the_model_that_one_process_does(tmp_path: Path) -> None:
    run(tmp_path, "hydra.mode=RUN", "stage=[prepare_corpus,select,order,train_lm]", f"hydra.run.dir={tmp_path}/one")
    (alone,) = tmp_path.glob("artifacts/models/[!.]*")
    alone = alone.rename(tmp_path / "alone")
    launcher = ["hydra/launcher=slurm_gpu", "hydra.launcher.gpus_per_node=null"]  # the devices are CPUs
    launcher += ["hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=3", f"hydra.sweep.dir={tmp_path}/sweep"]
    logs = run(tmp_path, "-m", "stage=[train_lm]", *launcher, "trainer.devices=2", SHARDED)
    (two,) = tmp_path.glob("artifacts/models/[!.]*")
    assert logs.count("    done in") == 1  # the other task only takes part
    assert json.loads((two / "manifest.json").read_text())["config"]["trainer"]["devices"] == 2
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (two, alone))
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        assert (ours[name] - weight).abs().mean() < 1e-4, name
    losses = [
        [float(row["train/loss"]) for row in csv.DictReader((folder / "metrics.csv").open(encoding="utf-8"))]
        for folder in (two, alone)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert not list(two.glob("checkpoints/*"))
