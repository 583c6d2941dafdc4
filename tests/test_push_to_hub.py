"""A model is sent to the Hub by command alone: the real client against a local server."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from artifact_example import publish
from huggingface_hub import constants
from json_answers import JsonHandler

from qurating import push_to_hub
from qurating.artifacts.artifact import Artifact
from qurating.artifacts.files import read_json

KEY = "hf_aKeyThatMayWrite"


class Hub(ThreadingHTTPServer):
    """Takes repositories and commits of small files. `existing`: repositories; `received`: files of the last commit."""

    daemon_threads = True
    refuses: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.existing: set[str] = set()
        self.created: list[dict[str, Any]] = []
        self.received: dict[str, bytes] = {}


class _Handler(JsonHandler):
    server: Hub

    def get(self) -> None:
        self.answer(200, {"_id": "1", "id": "lab/model", "siblings": []})  # what there is before the commit

    def post(self) -> None:
        body = self.body()
        if self.server.refuses or self.headers.get("Authorization") != f"Bearer {KEY}":
            self.answer(self.server.refuses or 401, {"error": "no"})
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization', 'lab')}/{asked['name']}"
            answer = {"url": f"{self.url}/{name}", "id": name, "name": name}
            self.answer(409 if name in self.server.existing else 200, answer)
            self.server.existing.add(name)
            self.server.created.append(asked)
        elif "/preupload/" in self.path:
            how = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            self.answer(200, {"files": [{"path": file["path"], **how} for file in json.loads(body)["files"]]})
        elif "/commit/" in self.path:
            lines = [json.loads(line) for line in body.splitlines()]
            sent = [line["value"] for line in lines if line["key"] == "file"]
            self.server.received = {file["path"]: base64.b64decode(file["content"]) for file in sent}
            self.answer(200, {"success": True, "commitOid": "a" * 40, "commitUrl": f"{self.url}/lab/model/commit/aa"})
        else:
            self.answer(404, {})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", KEY)
    yield server
    server.shutdown()
    server.server_close()


def model(root: Path, file: str = "config.json", labels: tuple[str, ...] = (), **config: Any) -> Path:
    path = root / "models" / "lm-tiny"

    def build(folder: Path) -> dict[str, Any]:
        (folder / file).write_text("{}")
        (folder / "card").mkdir()
        (folder / "card/loss.png").write_bytes(b"\x89PNG")
        return {}

    publish(Artifact(path, "train_lm", {}, config, labels=frozenset(labels)), build)
    (path / "notes.txt").write_text("mine")  # no part of the artifact
    return path


def test_the_files_of_the_artifact_arrive_in_a_private_repository(tmp_path: Path, hub: Hub, capsys: Any) -> None:
    path = model(tmp_path)
    assert push_to_hub.main([str(path), "lab/model"]) == 0
    assert hub.created[0]["visibility"] == "private"
    assert hub.received == {
        "config.json": b"{}",
        "card/loss.png": b"\x89PNG",
        "manifest.json": (path / "manifest.json").read_bytes(),
    }
    assert "Sent: http://127.0.0.1" in capsys.readouterr().out
    assert push_to_hub.main([str(path), "lab/model"]) == 2
    assert "lab/model exists already: choose another name, or add a commit to it" in capsys.readouterr().err
    assert push_to_hub.main([str(path), "lab/model", "--update", "--public", "--without-manifest"]) == 0
    assert hub.received.keys() == {"config.json", "card/loss.png"}
    assert hub.created[-1]["visibility"] == "public"


def test_what_others_would_read_is_said(tmp_path: Path, hub: Hub, capsys: Any) -> None:
    path = model(tmp_path, labels=("simulated judge",), from_pretrained="/home/me/model", lr=0.1)
    assert push_to_hub.main([str(path), "lab/model"]) == 0
    shown = capsys.readouterr().out
    assert "everybody will read the label 'simulated judge'" in shown
    assert "manifest.json names paths of this machine (/home/me/model)" in shown


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "the Hub refuses (403): HF_TOKEN needs the right to write to lab"),
        (500, "the Hub refuses lab/model (500)"),
    ],
)
def test_a_refusal_is_a_sentence(tmp_path: Path, hub: Hub, capsys: Any, status: int, message: str) -> None:
    hub.refuses = status
    assert push_to_hub.main([str(model(tmp_path)), "lab/model"]) == 2
    found = capsys.readouterr().err
    assert message in found
    assert KEY not in found


def test_what_cannot_be_sent_is_refused_before_anything_is_created(tmp_path: Path, hub: Hub, capsys: Any) -> None:
    path = model(tmp_path / "a")
    (path / "config.json").write_text("[]")  # of the same size
    assert push_to_hub.main([str(path), "lab/model"]) == 2
    assert "is damaged: config.json; nothing was sent" in capsys.readouterr().err
    subset = model(tmp_path / "b", file="subset.parquet")
    assert push_to_hub.main([str(subset), "lab/model"]) == 2
    assert "is no model: train_lm made it, and there is no config.json" in capsys.readouterr().err
    assert push_to_hub.main([str(tmp_path / "nothing"), "lab/model"]) == 2
    assert push_to_hub.main([str(model(tmp_path / "c")), "no name!"]) == 2
    assert "'no name!' is no name of a repository" in capsys.readouterr().err
    assert hub.created == []


def test_no_network_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("HF_TOKEN", KEY)
    assert push_to_hub.main([str(model(tmp_path)), "lab/model"]) == 2
    assert "the Hub cannot be reached" in capsys.readouterr().err


def test_no_file_has_the_key(tmp_path: Path, hub: Hub) -> None:
    path = model(tmp_path)
    assert push_to_hub.main([str(path), "lab/model"]) == 0
    assert read_json(path / "manifest.json")["stage"] == "train_lm"
    assert not any(KEY.encode() in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
