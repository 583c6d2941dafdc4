"""A flipped bit in an artifact is found before a stage reads it, through the command line."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from artifact_example import flip_a_byte
from repository import ROOT
from whole_runs import command


def run(artifacts: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    of_a_cell = command(artifacts, "hydra.mode=RUN", "selection=top_k", *arguments)
    return subprocess.run(of_a_cell, capture_output=True, text=True, timeout=1200, cwd=ROOT)


@pytest.mark.parametrize(
    ("pattern", "reader", "maker"),
    [
        ("corpora/*/train/*.parquet", "order", "prepare_corpus"),
        ("ratings/*/train/*.parquet", "select", "rate"),
        ("models/rater-*/model.safetensors", "rate", "train_rater"),
        ("orders/*top_k*/tokens.npy", "train_lm", "order"),
    ],
)
def test_a_flipped_bit_is_found_before_it_is_read(
    untouched: Path, tmp_path: Path, pattern: str, reader: str, maker: str
) -> None:
    copy = tmp_path / "artifacts"
    shutil.copytree(untouched, copy)
    file = next(copy.glob(pattern))
    flip_a_byte(file)
    found = run(copy, f"stage=[{reader}]", f"artifacts.{reader}=mine/mine")
    assert found.returncode == 1
    inside = "/".join(file.relative_to(copy).parts[2:])
    assert f"is damaged: the content of {inside}" in found.stderr
    assert f"overwrite=true and its stage, {maker}" in found.stderr
    assert not (copy / "mine/mine").exists()


def test_the_advice_mends_it(untouched: Path, tmp_path: Path) -> None:
    copy = tmp_path / "artifacts"
    shutil.copytree(untouched, copy)
    (shard,) = copy.glob("ratings/*/train/*.parquet")
    manifest = shard.parents[1] / "manifest.json"
    before = json.loads(manifest.read_text())
    flip_a_byte(shard)
    assert run(copy, "stage=[select]", "artifacts.select=mine/mine").returncode == 1
    mended = run(copy, "stage=[rate]", "overwrite=true")
    assert mended.returncode == 0, mended.stderr[-3000:]
    assert json.loads(manifest.read_text())["fingerprint"] == before["fingerprint"]
    assert run(copy, "stage=[select]", "artifacts.select=mine/mine").returncode == 0


def test_a_model_that_is_named_by_its_folder_is_compared_too(untouched: Path, tmp_path: Path) -> None:
    copy = tmp_path / "artifacts"
    shutil.copytree(untouched / "corpora", copy / "corpora")
    (rater,) = untouched.glob("models/rater-*")
    shutil.copytree(rater, tmp_path / "mine")
    flip_a_byte(tmp_path / "mine/model.safetensors")
    for _ in range(2):  # the damage that the first run has found must not make it another model
        found = run(copy, "stage=[rate]", f"rater.from_pretrained={tmp_path}/mine")
        assert found.returncode == 1
        assert "mine is damaged: the content of model.safetensors" in found.stderr
