"""python -m qurating.dashboard: panels for what was logged; with a key it is saved, otherwise written."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from repository import ROOT
from wandb_server import GOOD_KEY, wandb_server

from qurating import dashboard
from qurating.artifacts.files import write_json
from qurating.runtime.errors import StageError


def record(
    folder: Path, name: str, project: str = "p", entity: str | None = None, group: str = "g", **has: Any
) -> None:
    place = {"mode": "offline", "base_url": "u", "entity": entity, "project": project}
    empty: dict[str, Any] = {"points": {}, "summary": [], "media": {}}
    about = {"name": name, "group": group}
    write_json(folder / f"wandb/logged/{name}.json", {"place": place, "about": about, **empty, **has})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    loss = {
        "train_lm/heldout/nats_per_token": ["train_lm/heldout/tokens", 9.0],
        "train_lm/train/loss": ["train_lm/step", 2],
    }
    record(tmp_path, "a", points=loss, summary=["evaluate/perplexity", "evaluate/seconds", "select/seconds"])
    media = {"rate/quality": ["Histogram", "f"], "select/examples": ["Table", "f"], "analyse/changes": ["Image", "f"]}
    record(tmp_path, "b", summary=["train_rater/accuracy/quality", "other/thing"], media=media)
    return tmp_path


def shown(definition: Any) -> Iterator[Mapping[str, Any]]:
    """The panels in a definition."""
    if isinstance(definition, dict):
        if "viewType" in definition:
            yield definition
        else:
            for each in definition.values():
                yield from shown(each)
    elif isinstance(definition, list):
        for each in definition:
            yield from shown(each)


def call(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    command = [sys.executable, "-m", "qurating.dashboard", *arguments]
    env |= {"NETRC": os.devnull, "HOME": "/nonexistent", **variables}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, cwd=ROOT)


def test_sections_have_the_panels_that_have_data(folder: Path) -> None:
    assert dashboard.panels(dashboard.read_logged(folder, None, None, None)) == {
        "Results": [("bar", ["evaluate/perplexity"]), ("image", ["analyse/changes"])],
        "Curves": [("line", ["train_lm/heldout/nats_per_token"]), ("line", ["train_lm/train/loss"])],
        "Ratings": [("histogram", ["rate/quality"]), ("bar", ["train_rater/accuracy/quality"])],
        "Selection": [("table", ["select/examples"])],
        "System": [("bar", ["evaluate/seconds", "select/seconds"])],
    }


def test_one_sweep_or_one_project(folder: Path) -> None:
    record(folder, "c", project="q", entity="team", group="h", summary=["evaluate/bits_per_byte"])
    with pytest.raises(StageError, match="several projects: set --project to one of p, q"):
        dashboard.read_logged(folder, None, None, None)
    found = dashboard.read_logged(folder, "q", None, None)
    assert (found.entity, found.group, found.figures) == ("team", None, ["evaluate/bits_per_byte"])
    assert dashboard.read_logged(folder, None, "me", "h").entity == "me"
    with pytest.raises(StageError, match="no run has this project and group; known are: p, g; q, h"):
        dashboard.read_logged(folder, None, None, "no")
    with pytest.raises(StageError, match="no run was logged in"):
        dashboard.read_logged(folder / "wandb", None, None, None)


def test_without_a_key_the_definition_is_written_and_with_one_it_is_sent(folder: Path) -> None:
    found = call(str(folder), "--group", "g")
    assert found.returncode == 0, found.stderr
    file = folder / "wandb/dashboard.json"
    assert found.stdout.splitlines()[-1].endswith(f"python -m qurating.dashboard {file}")
    written = json.loads(file.read_text(encoding="utf-8"))
    for each in ("workspace", "report"):
        panels = [*shown(written[each])]
        assert len(panels) == 8
        (curve,) = (p["config"] for p in panels if p["config"].get("metrics") == ["train_lm/heldout/nats_per_token"])
        assert (curve["xAxis"], curve["xLogScale"]) == ("train_lm/heldout/tokens", True)
        assert '"op": "=", "value": "g"' in json.dumps(written[each])
    with wandb_server() as server:
        found = call(str(file), WANDB_API_KEY=GOOD_KEY, WANDB_BASE_URL=server.url)
        sent = [json.loads(view["spec"]) for view in server.saved]
        assert [view["entityName"] for view in server.saved] == ["me", "me"]
    assert found.returncode == 0, found.stderr
    assert [line.split(": ")[0] for line in found.stdout.splitlines()] == ["workspace", "report"]
    for view, each in zip(sent, ("workspace", "report"), strict=True):
        assert [p["config"] for p in shown(view)] == [p["config"] for p in shown(written[each])]


def test_what_the_server_refuses_is_a_sentence(folder: Path) -> None:
    with wandb_server() as server:
        server.project = False
        found = call(str(folder), WANDB_API_KEY=GOOD_KEY, WANDB_BASE_URL=server.url)
        assert server.saved == []
        server.refusal = (200, {"data": {"viewer": None}})
        refused = call(str(folder), WANDB_API_KEY="a" * 40, WANDB_BASE_URL=server.url)
    assert (found.returncode, refused.returncode) == (2, 2)
    assert "project 'me/p' not found" in found.stderr
    assert "wandb sync" in found.stderr
    assert "Weights & Biases refuses the key: " in refused.stderr
    assert "Traceback" not in found.stderr + refused.stderr


def test_a_file_of_something_else_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(tmp_path / "other.json", {"a": 1})
    assert dashboard.main([str(tmp_path / "other.json")]) == 2
    assert "other.json was not written by python -m qurating.dashboard" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    with pytest.raises(StageError, match=r"pip install -e '\.\[dashboard\]'"):
        dashboard.definition(dashboard.read_logged(folder, None, None, None))


def test_figures_of_an_analysis_stand_with_what_they_are_about(tmp_path: Path) -> None:
    names = {"results": "Results", "curves": "Results", "by_cluster": "Ratings", "variance": "Ratings"}
    names |= {"retention_by_cluster": "Selection", "duplicates": "Selection"}
    media = {f"analyse_ratings/{name}": ["Image", "f"] for name in names} | {"analyse_ratings/table": ["Table", "f"]}
    media |= {f"analyse/{name}": ["Image", "f"] for name in ("loss_by_tokens", "heldout_loss")}
    record(tmp_path, "a", media=media)
    found = dashboard.panels(dashboard.read_logged(tmp_path, None, None, None))
    places = {metrics[0]: section for section, each in found.items() for _, metrics in each}
    assert {name: places.pop(f"analyse_ratings/{name}") for name in names} == names
    assert set(places.values()) == {"Results"}
    assert len(places) == 3
