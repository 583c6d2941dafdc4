"""Access to the Hub: the real client over real HTTP, against a local server that answers as the Hub does."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub.utils
import pytest
from hub_server import TOKEN, Hub, point_to, serving
from huggingface_hub import constants
from ports import NOBODY_LISTENS

from qurating.runtime import hub as runtime_hub
from qurating.runtime.errors import StageError
from qurating.runtime.hub import check_access, fetch


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(tmp_path, monkeypatch) as server:
        yield server


def refused(*arguments: list[str | None]) -> str:
    with pytest.raises(StageError) as caught:
        check_access(*arguments)
    return str(caught.value)


def test_what_can_be_had_is_asked_for_once_with_the_token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    check_access(["lab/open", None, "gpt2", "lab/open"], ["lab/data", "json", None])
    assert [path for path, _ in hub.asked] == [
        "/api/models/lab/open/auth-check",
        "/api/models/gpt2/auth-check",
        "/api/datasets/lab/data/auth-check",
    ]
    assert {token for _, token in hub.asked} == {None}
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    check_access(["lab/open"], [])
    assert hub.asked[-1] == ("/api/models/lab/open/auth-check", f"Bearer {TOKEN}")


@pytest.mark.parametrize("token", [None, TOKEN])
def test_every_problem_is_told_at_once(hub: Hub, monkeypatch: pytest.MonkeyPatch, token: str | None) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    said = refused(
        ["lab/open", "lab/locked", "lab/absent", "lab/stale", "lab/narrow", "lab/broken", "lab/unknown"],
        ["GAIR/lima", "lab/data"],
    )
    lines = said.splitlines()
    expected = [
        r"lab/locked \(model\): it is gated.* ask for access at URL/lab/locked$",
        r"lab/absent \(model\): it does not exist or is private: see URL/lab/absent,",
        r"lab/stale \(model\): the Hub asks for a valid token .*URL/lab/stale$",
        r"lab/narrow \(model\): the token may not read it \(The token has no scope for this\).*URL/lab/narrow$",
        r"lab/broken \(model\): the Hub answers with status 503: try again later",
        r"GAIR/lima \(data set\): it is gated.* ask for access at URL/datasets/GAIR/lima$",
    ]
    assert len(lines) == len(expected) + 2
    for line, pattern in zip(lines[1:], expected, strict=False):
        assert re.search(pattern.replace("URL", re.escape(hub.url)), line)
    is_set = "which is set" if token else "which is not set; there is no login either"
    assert f"{hub.url}/settings/tokens" in lines[-1]
    assert f"HF_TOKEN ({is_set}), or run `hf auth login`. Or name a local folder" in lines[-1]
    assert TOKEN not in said


def test_a_login_of_the_client_counts(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "no login").write_text(TOKEN)
    said = refused(["lab/locked"], [])
    assert hub.asked[-1][1] == f"Bearer {TOKEN}"
    assert "is not set; a login of `hf auth login` is used" in said
    assert TOKEN not in said


def test_what_is_here_or_in_the_cache_is_not_asked_for(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models/mine").mkdir(parents=True)
    (tmp_path / "cache/models--lab--locked/snapshots/abc").mkdir(parents=True)
    (tmp_path / "cache/models--lab--locked/snapshots/abc/config.json").touch()
    (tmp_path / "cache/datasets--lab--other/snapshots").mkdir(parents=True)  # nothing was fetched
    check_access(["models/mine", str(tmp_path), "lab/locked"], [])
    assert not hub.asked
    said = refused(["./models/yours", "~/none", "a/b/c", "models/yours"], ["lab/other"])
    assert f"./models/yours: no such model (looked in {tmp_path})" in said
    assert "~/none: no such model (looked in" in said
    assert "a/b/c (model): neither a folder in" in said
    assert [path for path, _ in hub.asked] == [
        "/api/models/models/yours/auth-check",
        "/api/datasets/lab/other/auth-check",
    ]


def nobody_listens(_: Hub, monkeypatch: pytest.MonkeyPatch) -> str:
    point_to(NOBODY_LISTENS, monkeypatch)
    return "ConnectError"


def nobody_answers(_: Hub, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(runtime_hub, "TIMEOUT_SECONDS", 0.1)
    return "ReadTimeout"


@pytest.mark.parametrize("fault", [nobody_listens, nobody_answers])
def test_a_hub_that_is_not_reached_is_asked_once(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, fault: Callable[[Hub, pytest.MonkeyPatch], str]
) -> None:
    kind = fault(hub, monkeypatch)
    said = refused(["lab/silent", "lab/second"], ["lab/third"])
    for name in ("lab/silent", "lab/second", "datasets/lab/third"):
        page = re.escape(f"{constants.ENDPOINT}/{name}")
        assert re.search(rf"the Hub cannot be reached \(.*{kind}.*not in the cache.*its page is {page}\n", said)
    assert len(hub.asked) <= 1


def test_offline_says_what_to_unset_or_to_fetch(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    said = refused(["lab/open"], ["lab/data"])
    assert "lab/open (model): it is not in the cache" in said
    assert "unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE" in said
    assert "`hf download lab/data --repo-type dataset`" in said
    assert not hub.asked


def test_a_file_is_fetched_once(hub: Hub) -> None:
    path = fetch("lab/data", "train.jsonl")
    assert Path(path).read_text() == '{"text": "a"}\n'
    check_access([], ["lab/data"])
    assert not any("auth-check" in path for path, _ in hub.asked)


def test_a_file_that_cannot_be_fetched(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StageError, match=r"lab/data has no file 'test\.jsonl': see .*/datasets/lab/data/tree/main"):
        fetch("lab/data", "test.jsonl")
    with pytest.raises(StageError, match=r"GAIR/lima .*gated(.|\n)*HF_TOKEN \(which is not set"):
        fetch("GAIR/lima", "train.jsonl")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(StageError, match=r"not in the cache .*HF_HUB_OFFLINE"):
        fetch("lab/data", "train.jsonl")
    assert huggingface_hub.utils.get_token() is None


def test_the_disk_is_not_taken_for_the_hub(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises((NotADirectoryError, FileExistsError)):
        fetch("lab/data", "train.jsonl")
