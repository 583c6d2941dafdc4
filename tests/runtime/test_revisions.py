"""Which commit of the Hub a name means: the real client over real HTTP, against a local server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import Hub, point_to, serving
from huggingface_hub import constants
from ports import NOBODY_LISTENS

from qurating.runtime import revisions
from qurating.runtime.hub import check_access
from qurating.runtime.revisions import commit, loadable, pinned, without_pin

OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    revisions._commits.clear()
    with serving(tmp_path, monkeypatch) as server:
        server.commits = {"/api/models/lab/open": NEW, "/api/datasets/lab/data/revision/v1": OLD}
        yield server
    revisions._commits.clear()


def cached(folder: Path, branch: str, sha: str) -> None:
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / branch).write_text(sha)
    (folder / "snapshots" / sha).mkdir(parents=True, exist_ok=True)


def test_a_commit_is_asked_for_once_in_a_process(hub: Hub) -> None:
    assert commit("lab/open", "model").sha == NEW
    hub.commits["/api/models/lab/open"] = OLD
    assert commit("lab/open", "model").sha == NEW
    assert commit("lab/data", "dataset", "v1", token="of the lab").sha == OLD
    asked = [("/api/models/lab/open", None), ("/api/datasets/lab/data/revision/v1", "Bearer of the lab")]
    assert hub.asked_for_commits == asked


def test_the_cache_comes_before_the_hub(hub: Hub, tmp_path: Path) -> None:
    cached(tmp_path / "cache/models--lab--open", "main", OLD)
    cached(tmp_path / "cache/models--lab--open", "v2", NEW)
    assert commit("lab/open", "model").sha == OLD
    assert commit("lab/open", "model", "v2").sha == NEW
    assert commit("lab/open", "model", OLD).sha == OLD  # a commit is itself
    assert not hub.asked_for_commits


def test_a_branch_whose_files_are_gone_is_asked_for(hub: Hub, tmp_path: Path) -> None:
    cached(tmp_path / "cache/models--lab--open", "main", OLD)
    (tmp_path / "cache/models--lab--open/snapshots" / OLD).rmdir()
    assert commit("lab/open", "model").sha == NEW
    assert hub.asked_for_commits


@pytest.mark.parametrize("fault", ["offline", "nobody listens", "unknown", "no name"])
def test_what_cannot_be_told_has_its_reason(hub: Hub, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    if fault == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    if fault == "nobody listens":
        point_to(NOBODY_LISTENS, monkeypatch)
    name = {"unknown": "lab/unheard-of", "no name": "no name/of/the hub"}.get(fault, "lab/open")
    found = commit(name, "model")
    assert found.sha is None
    assert "Error" in found.problem or "Offline" in found.problem
    assert "\n" not in found.problem
    assert pinned(name, "model", "v1") == "v1"  # what the user says is loaded


def test_what_is_loaded_is_that_commit_also_later_without_a_network(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert loadable("lab/open") == {"pretrained_model_name_or_path": "lab/open", "revision": NEW}
    assert (tmp_path / "cache/models--lab--open/refs/main").read_text() == NEW
    (tmp_path / "cache/models--lab--open/snapshots" / NEW).mkdir(parents=True)  # as the client does
    revisions._commits.clear()
    point_to(NOBODY_LISTENS, monkeypatch)
    assert loadable("lab/open")["revision"] == NEW
    assert loadable(f"lab/open@{OLD}") == {"pretrained_model_name_or_path": "lab/open", "revision": OLD}
    assert loadable("lab/other@v1") == {"pretrained_model_name_or_path": "lab/other", "revision": "v1"}


def test_a_folder_is_loaded_as_it_is(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models/a@b").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert loadable("~/models/a@b") == {"pretrained_model_name_or_path": f"{tmp_path}/models/a@b"}
    assert loadable(tmp_path / "models") == {"pretrained_model_name_or_path": f"{tmp_path}/models"}
    assert not hub.asked_for_commits


def test_a_pinned_name_is_checked_as_its_bare_name(hub: Hub) -> None:
    check_access(["lab/open@v1"], [])
    assert [path for path, _ in hub.asked] == ["/api/models/lab/open/auth-check"]
    assert without_pin("lab/open@v1") == ("lab/open", "v1")
    assert without_pin("lab/open") == ("lab/open", None)


@pytest.mark.usefixtures("hub")
def test_a_hub_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revisions, "TIMEOUT_SECONDS", 0.1)
    assert "Timeout" in commit("lab/silent", "model").problem
