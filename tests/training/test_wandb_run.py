"""Weights & Biases with its real client: offline, with a key that is refused, and with a server that fails."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from offline_runs import OfflineRun, read_runs
from repository import ROOT
from wandb_server import GOOD_KEY, wandb_server

from qurating.training.wandb_run import _artifact_name

SCRIPT = """
import os, sys
from pathlib import Path
import wandb as client
from qurating.runtime.errors import StageError
from qurating.training import tracking
from qurating.training.tracking import Histogram, Point, Shown, Source, Table
from qurating.training.wandb_run import wandb

def source(name, stage):
    folder = Path(sys.argv[1]) / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text("{}")
    return Source(name, stage, "f" * 64, folder, {"tokens": 5})

def a_run(act, run_id="0123"):
    given = dict(project="p", group="sweep", name="n", run_id=run_id, folder=sys.argv[1], settings={"seed": 1})
    try:
        with wandb(**given, tags=["t", "criterion=" + 90 * "x"], finish_timeout_seconds=1):
            act()
    finally:
        client.teardown()  # the next attempt reads a whole file: the service writes on after a run has finished

def a_cell():
    corpus, lm = source("corpora/c", "prepare_corpus"), source("models/l,m", "train_lm")
    table = Table(["kind", "text"], [["a", "<b>"], [1, None]])
    media = {"rate/x": Histogram([1, 2], [0.0, 1.0, 2.0]), "select/examples": table}
    points = [Point("train_lm/step", step, {"train_lm/train/loss": 1.0 / step}) for step in (1, 2)]
    shown = Shown(lm, [corpus], {"train_lm/tokens": 5}, points, media)
    tracking.show(lm, lambda: shown, is_made=True)

try:
    exec(sys.argv[2])
except StageError as error:
    sys.exit(f"Error: {error}")
print("the work is done")
"""


def call(folder: Path, code: str = "a_run(a_cell)", **variables: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    env |= {"HOME": str(folder / "home"), "PYTHONPATH": str(ROOT), "WANDB_HTTP_TIMEOUT": "1", **variables}
    command = [sys.executable, "-c", SCRIPT, str(folder / "runs"), code]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, cwd=folder)


def kept(folder: Path, run_id: str = "0123") -> OfflineRun:
    return read_runs(folder / "runs" / "wandb")[run_id]


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Runs without a key, one after the other in one process: their folder, and what was printed."""
    folder = tmp_path_factory.mktemp("offline")
    code = """
a_run(a_cell)
a_run(a_cell)
a_run(lambda: tracking._open.log(Point('train_lm/step', 3, {'train_lm/train/loss': 0.5})))
try:
    a_run(lambda: 1 / 0, 'failed')
except ZeroDivisionError:
    pass
for mode in ('offline', 'disabled'):
    os.environ |= {'WANDB_MODE': mode, 'WANDB_API_KEY': 40 * 'k'}
    print('mode', mode)
    a_run(a_cell, mode)
"""
    found = call(folder, code)
    assert found.returncode == 0, found.stderr
    return folder, found.stdout


def test_without_a_key_a_cell_is_one_run_offline_that_a_second_command_continues(offline: tuple[Path, str]) -> None:
    folder, printed = offline
    assert f"wandb: no key found, the run is kept offline in {folder}/runs/wandb" in printed
    run = kept(folder)
    assert (run.name, run.group, run.project, run.tags, run.config["seed"]) == (
        "n", "sweep", "p", ["t", f"criterion={53 * 'x'}…"], 1,
    )  # fmt: skip
    assert run.points("train_lm/train/loss") == [(1, 1.0), (2, 0.5), (3, 0.5)]
    # rows of a later attempt go on after those of an earlier one: `wandb sync` appends them
    assert [row["_step"] for row in run.history] == [0, 1, 2, 3, 4]
    histogram = next(row["rate/x"] for row in run.history if "rate/x" in row)
    assert (histogram["values"], histogram["bins"]) == ([1, 2], [0.0, 1.0, 2.0])
    assert run.summary["train_lm/tokens"] == 5
    assert run.exit_codes == [0, 0, 0]


def test_lineage_is_by_reference_and_nothing_is_uploaded(offline: tuple[Path, str]) -> None:
    folder, _ = offline
    run = kept(folder)
    assert list(run.used) == ["corpora-c"]
    (made,) = run.made.values()
    assert (made.name, made.type) == (_artifact_name("models/l,m"), "models")
    (entry,) = made.manifest.contents
    assert (entry.path, entry.local_path) == (f"{'f' * 16}/manifest.json", "")
    assert entry.ref == (folder / "runs/models/l,m/manifest.json").as_uri()


def test_a_cell_that_fails_is_marked_as_failed(offline: tuple[Path, str]) -> None:
    assert kept(offline[0], "failed").exit_codes == [1]


def test_the_environment_says_the_mode(offline: tuple[Path, str]) -> None:
    folder, printed = offline
    before, disabled = printed.split("mode disabled")
    assert "WANDB_MODE=offline, the run is kept offline" in before
    assert kept(folder, "offline").summary["train_lm/tokens"] == 5
    assert disabled.strip() == "the work is done"
    assert "disabled" not in read_runs(folder / "runs" / "wandb")


def test_a_cell_that_was_killed_with_its_client_has_each_point_once(tmp_path: Path) -> None:
    kill = """
def log(*steps):
    tracking.begin('train_lm', {})
    for step in steps:
        tracking.loggers()[0].log_metrics({'train/loss': 1.0 / step}, step)
def die():
    log(*range(1, 40))
    os.killpg(0, 9)
os.setsid()
a_run(die)
"""
    assert call(tmp_path, kill).returncode == -9
    assert call(tmp_path, kill.replace("os.killpg(0, 9)", "").replace("range(1, 40)", "range(20, 60)")).returncode == 0
    (run,) = read_runs(tmp_path / "runs" / "wandb").values()
    steps = [x for x, _ in run.points("train_lm/train/loss")]
    assert steps == sorted(set(steps))
    assert {*range(20, 60)} <= {*steps}
    rows = [each["_step"] for each in run.history]
    assert rows == sorted(set(rows))


def test_names_of_artifacts_stay_unique() -> None:
    names = ["models/lm", "models/a,b", "models/a=b", f"models/{'x' * 200}", f"models/{'x' * 201}"]
    made = [_artifact_name(name) for name in names]
    assert made[0] == "models-lm"
    assert len(set(made)) == len(names)
    assert max(map(len, made)) <= 128


@pytest.mark.parametrize(
    ("key", "refusal", "reason"),
    [
        ("short", None, "API key must have 40+ characters, has 5"),
        ("a" * 40, (200, {"data": {"viewer": None}}), "did not recognize an account"),
    ],
)
def test_a_wrong_key_is_a_sentence_before_any_work(tmp_path: Path, key: str, refusal: Any, reason: str) -> None:
    with wandb_server() as server:
        server.refusal = refusal
        found = call(tmp_path, WANDB_API_KEY=key, WANDB_BASE_URL=server.url)
    assert found.returncode == 1
    last = found.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: wandb: the key is refused: ")
    for part in (reason, "wandb login --relogin", "WANDB_MODE=offline"):
        assert part in last
    for part in ("Traceback", key, "the work is done"):
        assert part not in found.stderr + found.stdout
    assert not read_runs(tmp_path / "runs" / "wandb")


def test_a_server_that_does_not_answer_leaves_the_run_offline(tmp_path: Path) -> None:
    found = call(tmp_path, WANDB_API_KEY=GOOD_KEY, WANDB_BASE_URL="http://127.0.0.1:9")
    assert found.returncode == 0, found.stderr
    assert "wandb: the server does not answer, the run is kept offline" in found.stdout
    assert kept(tmp_path).summary["train_lm/tokens"] == 5


def test_a_server_that_fails_midway_is_said_once_and_the_work_goes_on(tmp_path: Path) -> None:
    with wandb_server() as server:
        server.fails_after = "UpsertBucket"
        found = call(tmp_path, WANDB_API_KEY=GOOD_KEY, WANDB_BASE_URL=server.url)
        assert "UpsertBucket" in server.asked
    assert found.returncode == 0, found.stderr
    assert found.stdout.rstrip().endswith("the work is done")
    assert found.stdout.count("The work goes on") == 1
    assert "what was not uploaded is in" in found.stdout
    assert "Traceback" not in found.stderr
    assert list((tmp_path / "runs/wandb").glob("run-*-0123/run-0123.wandb"))
