"""The files that patterns name."""

from pathlib import Path

import pytest

from qurating.corpus.files import ROOT, in_repository, named_files, stem
from qurating.runtime.errors import StageError


def test_files_come_sorted_and_each_once(tmp_path: Path) -> None:
    for name in ("b/x.txt", "a/x.txt", "a/y.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    here = named_files([f"{tmp_path}/a/*", f"{tmp_path}/a/x.txt"])
    assert here == [(tmp_path / "a/x.txt", "x.txt"), (tmp_path / "a/y.txt", "y.txt")]
    # folders distinguish files of the same name
    assert [name for _, name in named_files(f"{tmp_path}/**/*.txt")] == ["a/x.txt", "a/y.txt", "b/x.txt"]
    with pytest.raises(StageError, match=r"is a folder; name its files, for example .*/a/\*\.jsonl"):
        named_files(f"{tmp_path}/a/")
    with pytest.raises(StageError, match=r"no file matches .*c\.txt"):
        named_files([f"{tmp_path}/a/*", f"{tmp_path}/c.txt"])


def test_a_stem_has_no_ending() -> None:
    assert stem(Path("folder.d/part.jsonl.zst")) == "part"
    assert stem(Path(".hidden")) == ".hidden"


def test_settings_of_the_repository_may_name_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert in_repository("~/prompt.txt") == tmp_path / "prompt.txt"
    assert in_repository(str(tmp_path / "x")) == tmp_path / "x"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").touch()
    assert in_repository("mine.yaml") == tmp_path / "mine.yaml"
    assert in_repository("conf/prices.yaml") == ROOT / "conf/prices.yaml"
