"""Trackers: none, or one run of a client with the right arguments."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qurating.training import tracking


class Client:
    """Stands for the package wandb: records its calls."""

    def __init__(self, api_key: str | None = None) -> None:
        self.api = SimpleNamespace(api_key=api_key)
        self.Settings = dict
        self.given: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.ended: list[int] = []

    def init(self, **given: Any) -> "Client":
        self.given = given
        return self

    def finish(self, exit_code: int) -> None:
        self.ended.append(exit_code)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    made = Client()
    monkeypatch.setitem(sys.modules, "wandb", made)
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return made


def a_run(folder: Path) -> Any:
    return tracking.wandb(
        project="p", group="g", name="n", run_id="0123", folder=str(folder / "runs"), settings={"seed": 1}, tags=["t"]
    )


def test_without_a_tracker_there_is_no_logger_and_a_summary_goes_nowhere() -> None:
    with tracking.csv_only(project="p", anything=3):
        assert tracking.loggers("lm") == []
        tracking.summarise({"perplexity": 12.0})


def test_a_cell_is_one_run_that_is_offline_without_a_key(
    client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with a_run(tmp_path):
        tracking.summarise({"perplexity": 12.0})
        tracking.summarise({"tokens": 5})
    assert client.summary == {"perplexity": 12.0, "tokens": 5}
    assert client.ended == [0]
    assert client.given["mode"] == "offline"
    assert (client.given["id"], client.given["resume"]) == ("0123", "allow")
    assert client.given["config"] == {"seed": 1}
    assert f"the run is kept offline in {tmp_path}/runs/wandb" in capsys.readouterr().out
    assert (tmp_path / "runs").is_dir()
    # the run is finished: nothing more goes into it
    tracking.summarise({"perplexity": 99.0})
    assert client.summary["perplexity"] == 12.0
    assert tracking.loggers("lm") == []


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "wandb: no key found, the run is kept offline"),
        ({"WANDB_MODE": "offline"}, "wandb: WANDB_MODE=offline, the run is kept offline"),
        ({"WANDB_MODE": "offline", "WANDB_API_KEY": "k"}, "wandb: WANDB_MODE=offline, the run is kept offline"),
        ({"WANDB_MODE": "dryrun", "WANDB_API_KEY": "k"}, "wandb: WANDB_MODE=dryrun, the run is kept offline"),
        ({"WANDB_API_KEY": "k"}, ""),
        ({"WANDB_MODE": "disabled"}, ""),
    ],
)
def test_why_a_run_is_offline(
    client: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variables: dict[str, str],
    said: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with a_run(tmp_path):
        pass
    printed = capsys.readouterr().out.strip()
    assert printed.startswith(said)
    assert bool(printed) == bool(said)


@pytest.mark.parametrize(
    ("variables", "api_key", "mode"),
    [
        ({"WANDB_API_KEY": "k"}, None, "online"),
        ({}, "of a login", "online"),
        ({"WANDB_API_KEY": "k", "WANDB_MODE": "disabled"}, None, "disabled"),
    ],
)
def test_a_key_or_the_environment_says_the_mode(
    client: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    api_key: str | None,
    mode: str,
) -> None:
    client.api.api_key = api_key
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with a_run(tmp_path):
        pass
    assert client.given["mode"] == mode


def test_a_run_that_fails_is_marked_as_failed(client: Client, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), a_run(tmp_path):
        _ = 1 / 0
    assert client.ended == [1]
    assert tracking.loggers("lm") == []
