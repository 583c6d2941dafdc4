"""What `dataset` and `data_files` of a Hub-style data set name."""

from pathlib import Path

import pytest
from datasets import packaged_modules
from huggingface_hub import constants

from qurating.corpus.readers import Hub
from qurating.runtime import hub_data
from qurating.runtime.errors import StageError
from qurating.runtime.hub_data import data_set_of, local_files, named, pinned_url
from qurating.runtime.revisions import Commit


def test_every_format_of_the_library_is_known() -> None:
    assert set(packaged_modules._PACKAGED_DATASETS_MODULES) <= hub_data.FORMATS


def test_folders_names_and_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "json").mkdir()
    (tmp_path / "lab/data").mkdir(parents=True)
    assert named("~/lab/data", "en/*.jsonl") == ("~/lab/data", None, tmp_path / "lab/data", False, ["en/*.jsonl"], [])
    assert named("lab/data", None)[2:4] == (Path("lab/data"), False)
    assert named("lab/web@v1", ["en/*.jsonl", "/x/*.jsonl"]) == (
        *("lab/web", "v1", None, True),
        ["en/*.jsonl", "/x/*.jsonl"],
        ["/x/*.jsonl"],
    )
    files = ["~/a/*.jsonl", "hf://datasets/lab/web/a.jsonl", "https://x.org/a.jsonl"]
    found = named("json", files)
    assert found[2:4] == (None, False)  # the library takes the format, not the folder
    assert found.patterns == [f"{tmp_path}/a/*.jsonl"]
    assert found.files == [f"{tmp_path}/a/*.jsonl", *files[1:]]


def test_local_files_are_those_that_the_library_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "deep/er").mkdir(parents=True)
    for name in ("a.jsonl", "deep/b.jsonl", "deep/er/c.jsonl", "x[1].jsonl", ".hidden.jsonl"):
        (tmp_path / name).write_text(f'{{"text": "{name}"}}\n')
    for pattern in ("*.jsonl", "**/*.jsonl", "~/deep/*.jsonl", "x[1].jsonl", "a.jsonl"):
        (escaped,) = named("json", pattern).patterns
        found = [file.relative_to(tmp_path).as_posix() for file in local_files(escaped)]
        read = [document.text for document in Hub(dataset="json", name="x", data_files=pattern)]
        assert sorted(found) == sorted(read), pattern
        assert found, pattern
    with pytest.raises(StageError, match="no file matches nothing-"):
        local_files("nothing-*.jsonl")
    with pytest.raises(StageError, match=r"no file matches \*\*x"):
        local_files("**x")


def test_a_folder_in_the_home_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train.jsonl").write_text('{"text": "here"}\n')
    assert [document.text for document in Hub(dataset="~/data", name="x")] == ["here"]


def test_a_data_set_of_the_hub_is_read_at_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    asked = []

    def note(*given: object, **settings: object) -> list[object]:
        asked.append((*given, settings["revision"], settings["data_files"]))
        return []

    monkeypatch.setattr("datasets.load_dataset", note)
    monkeypatch.setattr("qurating.runtime.revisions.commit", lambda *given: Commit("c" * 40))
    list(Hub(dataset="lab/web", name="x", revision="v1"))
    list(Hub(dataset="lab/web@v1", name="x"))
    list(Hub(dataset="json", name="x", data_files=["hf://datasets/lab/web@v1/en/*.jsonl", "https://x.org/a.jsonl"]))
    url = f"hf://datasets/lab/web@{'c' * 40}/en/*.jsonl"
    assert asked == [
        ("lab/web", None, "c" * 40, None),
        ("lab/web", None, "c" * 40, None),
        ("json", None, None, [url, "https://x.org/a.jsonl"]),
    ]


def test_files_of_the_hub_name_their_data_set() -> None:
    assert data_set_of("hf://datasets/lab/web@v1/en/a.jsonl") == "lab/web@v1"
    assert data_set_of("hf://datasets/lab/web/en/a.jsonl") == "lab/web"
    assert data_set_of("https://x.org/a/b") is None
    assert pinned_url("/x/a.jsonl", None) == "/x/a.jsonl"
