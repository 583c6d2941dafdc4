"""python -m qurating.verify, as a person would run it."""

import subprocess
import sys
from pathlib import Path

import pytest
from artifact_example import IDENTITY, flip_a_byte, made
from repository import ROOT

from qurating.artifacts.manifest import manifest
from qurating.runtime.errors import StageError
from qurating.verify import main


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A corpus, ratings of it, and a subset."""
    corpus = made(tmp_path / "corpora/x", {**IDENTITY, "stage": "prepare_corpus", "inputs": {}})
    for name in ("ratings/x", "subsets/x"):
        made(tmp_path / name, {**IDENTITY, "inputs": {"corpus": f"corpora/x ({corpus['fingerprint'][:16]})"}})
    return tmp_path


def test_intact_artifacts(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(root)]) == 0
    printed = capsys.readouterr().out
    assert printed.count(": intact (1 files") == 3
    assert "note" not in printed
    assert "3 artifacts, 0 damaged" in printed


def test_every_kind_of_damage_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip_a_byte(root / "ratings/x/part/a.txt")
    (root / "subsets/x/part/a.txt").unlink()
    (root / "corpora/x/manifest.json").write_text('{"files": ')
    assert main([str(root)]) == 1
    printed = capsys.readouterr().out
    assert "ratings/x: DAMAGED (1 files, 0.0 MB)\n    part/a.txt: the content is not the one" in printed
    assert "subsets/x: DAMAGED (1 files, 0.0 MB)\n    part/a.txt: missing" in printed
    assert "corpora/x/manifest.json is damaged: it is not JSON" in printed
    assert "3 artifacts, 3 damaged" in printed
    with pytest.raises(StageError, match="ratings/x is damaged"):  # runs know now
        manifest(root / "ratings/x")


def test_what_does_not_fit_is_noted(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(root / "corpora/x", {**IDENTITY, "stage": "prepare_corpus", "inputs": {}, "config": {}}, overwrite=True)
    (root / "ratings/x/mine.txt").write_text("notes")
    (root / "ratings/.y.partial").mkdir()
    assert main([str(root)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("note: it was made from corpora/x (") == 2
    assert "note: its manifest does not list mine.txt" in printed
    assert "ratings/y: not finished" in printed


def test_one_artifact_alone(root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "corpora")
    assert main(["x"]) == 0
    assert "x: intact" in capsys.readouterr().out


def test_the_command_line(root: Path) -> None:
    def verify(folder: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "qurating.verify", str(folder)]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600)

    assert verify(root).returncode == 0
    flip_a_byte(root / "ratings/x/part/a.txt")
    assert verify(root).returncode == 1
    nothing = verify(root / "nowhere")
    assert (nothing.returncode, nothing.stderr) == (2, f"Error: {root}/nowhere is not a folder\n")
