"""Files of artifacts are compared with their hashes, once."""

from pathlib import Path
from typing import Any

import pytest
from artifact_example import flip_a_byte, made, wanted

from qurating.artifacts import integrity
from qurating.artifacts.integrity import check_content, damaged_files
from qurating.artifacts.manifest import manifest
from qurating.runtime.errors import StageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made(tmp_path / "k" / "x")
    return tmp_path / "k" / "x"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are read."""
    found: list[Path] = []
    original = integrity.sha256

    def record(file: Path) -> str:
        found.append(file)
        return original(file)

    monkeypatch.setattr(integrity, "sha256", record)
    return found


def test_what_has_just_been_published_is_not_read_again(path: Path, hashed: list[Path]) -> None:
    check_content(path, manifest(path), 1e9)
    assert hashed == []


def test_a_copy_is_read_once(path: Path, tmp_path: Path, hashed: list[Path]) -> None:
    copy = tmp_path / "k" / "y"
    path.rename(copy)  # the memory does not come along
    for _ in range(2):
        check_content(copy, manifest(copy), 1e9)
    assert hashed == [copy / "part/a.txt"]


def test_a_flipped_bit_is_found_and_remembered(path: Path, hashed: list[Path]) -> None:
    flip_a_byte(path / "part/a.txt")
    found = manifest(path)  # reads no file
    for _ in range(2):
        with pytest.raises(StageError, match=r"x is damaged: the content of part/a.txt is not .*overwrite=true.*rate"):
            check_content(path, found, 1e9)
    assert len(hashed) == 1
    with pytest.raises(StageError, match="x is damaged"):
        manifest(path)  # now known
    with pytest.raises(StageError, match="x is damaged"):
        wanted(path).is_complete()


def test_what_was_found_damaged_can_be_put_back(path: Path) -> None:
    content = (path / "part/a.txt").read_bytes()
    flip_a_byte(path / "part/a.txt")
    assert damaged_files(path, manifest(path)) == ["part/a.txt"]
    (path / "part/a.txt").write_bytes(content)
    check_content(path, manifest(path), 1e9)


def test_overwrite_replaces_what_is_damaged(path: Path) -> None:
    flip_a_byte(path / "part/a.txt")
    assert wanted(path).is_complete()  # nobody has looked
    assert not wanted(path, overwrite=True).is_complete()
    made(path, overwrite=True)
    assert wanted(path, overwrite=True).is_complete()
    check_content(path, manifest(path), 1e9)


def test_forgetting_reads_everything(path: Path, hashed: list[Path]) -> None:
    sizes: list[int] = []
    assert damaged_files(path, manifest(path), forget=True, read=sizes.append) == []
    assert hashed == [path / "part/a.txt"]
    assert sizes == [3]


def test_a_missing_file_is_damage(path: Path) -> None:
    found = manifest(path)
    (path / "part/a.txt").unlink()
    assert damaged_files(path, found) == ["part/a.txt"]


def test_what_is_too_large_is_said(path: Path, capsys: pytest.CaptureFixture[str], hashed: list[Path]) -> None:
    flip_a_byte(path / "part/a.txt")
    check_content(path, manifest(path), 2)
    assert f"python -m qurating.verify {path}" in capsys.readouterr().out
    assert hashed == []


def test_the_memory_of_another_version_does_not_count(path: Path, hashed: list[Path]) -> None:
    def other(folder: Path) -> dict[str, Any]:
        (folder / "b.txt").write_text("two")
        return {}

    memory = path.with_name(".x.checked.json").read_bytes()
    made(path, {"stage": "rate", "inputs": {}, "config": {}}, overwrite=True, build=other)
    path.with_name(".x.checked.json").write_bytes(memory)
    check_content(path, manifest(path), 1e9)
    assert hashed == [path / "b.txt"]


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"fingerprint": 1}'])
def test_a_damaged_memory_is_no_memory(path: Path, content: str, hashed: list[Path]) -> None:
    path.with_name(".x.checked.json").write_text(content)
    check_content(path, manifest(path), 1e9)
    assert hashed == [path / "part/a.txt"]


def test_without_write_access_each_run_compares(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.with_name(".x.checked.json").unlink()

    def refuse(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(integrity, "write_json", refuse)
    check_content(path, manifest(path), 1e9)
    flip_a_byte(path / "part/a.txt")
    with pytest.raises(StageError, match="damaged"):
        check_content(path, manifest(path), 1e9)
    assert not path.with_name(".x.checked.json").exists()
