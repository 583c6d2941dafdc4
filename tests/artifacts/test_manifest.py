"""A manifest records how an artifact was made, and reading it notices missing files."""

from pathlib import Path
from typing import Any

import pytest
from artifact_example import IDENTITY, build, made, wanted

from qurating.artifacts.files import read_json, write_json
from qurating.artifacts.integrity import damaged_files
from qurating.artifacts.manifest import manifest
from qurating.runtime.errors import StageError


def test_a_manifest_says_how_it_came_about(tmp_path: Path) -> None:
    path = tmp_path / "ratings" / "mine"
    made(path)
    found = manifest(path)
    assert found["name"] == "ratings/mine"
    assert found["counts"] == {"rows": 1}
    assert found["labels"] == ["inherited", "simulated judge"]
    assert found["seed"] == 1
    assert found["inputs"] == IDENTITY["inputs"]
    assert found["files"].keys() == {"part/a.txt"}
    assert found["packages"]["torch"]
    assert str(tmp_path) not in (path / "manifest.json").read_text()
    assert not list(path.parent.glob(".*.partial"))


def test_the_fingerprint_is_of_content_and_identity_not_of_time(tmp_path: Path) -> None:
    one, two, other = (made(tmp_path / name, IDENTITY)["fingerprint"] for name in ("a/x", "b/x", "c/x"))
    assert one == two == other

    def differently(folder: Path) -> dict[str, Any]:
        (folder / "a.txt").write_text("two")
        return {}

    assert made(tmp_path / "d/x", build=differently)["fingerprint"] != one


def test_records_are_checked_and_do_not_count_in_the_fingerprint(tmp_path: Path) -> None:
    def paid(usd: str, *records: str) -> Any:
        def build(folder: Path) -> dict[str, Any]:
            (folder / "a.txt").write_text("one")
            (folder / "costs.txt").write_text(usd)
            return {"records": list(records)}

        return build

    one = made(tmp_path / "a/x", build=paid("1.00", "costs.txt"))
    two = made(tmp_path / "b/x", build=paid("0.00", "costs.txt"))
    assert one["fingerprint"] == two["fingerprint"] != made(tmp_path / "c/x", build=paid("1.00"))["fingerprint"]
    assert (one["records"], one["counts"]) == (["costs.txt"], {})
    assert manifest(tmp_path / "a/x") == one
    (tmp_path / "a/x/costs.txt").write_text("0.00")
    assert damaged_files(tmp_path / "a/x", one) == ["costs.txt"]


@pytest.mark.parametrize("damage", ["gone", "short"])
def test_damage_is_noticed(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "k" / "x"
    made(path)
    file = path / "part" / "a.txt"
    file.unlink() if damage == "gone" else file.write_text("o")
    with pytest.raises(StageError, match=r"damaged: part/a.txt .*overwrite=true"):
        wanted(path).is_complete()
    made(path, overwrite=True)
    assert wanted(path).is_complete()


def test_an_absent_input_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="x does not exist yet: add the stage"):
        manifest(tmp_path / "x")


@pytest.mark.parametrize("content", ["", '{"stage": ', "[]", "{}", "\xff"])
def test_a_manifest_that_is_cut_short_is_told_and_replaced(tmp_path: Path, content: str) -> None:
    path = tmp_path / "k" / "x"
    made(path)
    (path / "manifest.json").write_text(content, encoding="latin-1")
    with pytest.raises(StageError, match=r"k/x/manifest.json is damaged: .*overwrite=true"):
        wanted(path).is_complete()
    made(path, overwrite=True)
    assert wanted(path).is_complete()


def test_a_changed_fingerprint_can_be_mended(tmp_path: Path) -> None:
    path = tmp_path / "k" / "x"
    right = made(path)["fingerprint"]
    write_json(path / "manifest.json", manifest(path) | {"fingerprint": "0" * 64})
    with pytest.raises(StageError, match=f'fingerprint is not that of its content; set it to "{right}"'):
        manifest(path)


@pytest.mark.parametrize("key", ["checksum", "labels", "counts", "inputs", "files"])
def test_a_changed_manifest_is_told(tmp_path: Path, key: str) -> None:
    path = tmp_path / "k" / "x"
    made(path)
    content = read_json(path / "manifest.json")
    content[key] = "0" * 64 if key == "checksum" else type(content[key])()
    write_json(path / "manifest.json", content)
    with pytest.raises(StageError, match=r"k/x/manifest.json is damaged: its checksum is not that of its content"):
        manifest(path)


def test_a_manifest_of_an_earlier_version_has_no_checksum(tmp_path: Path) -> None:
    path = tmp_path / "k" / "x"
    made(path)
    content = read_json(path / "manifest.json")
    del content["checksum"]
    write_json(path / "manifest.json", content)
    assert manifest(path) == content
    content["identity"]["config"]["seed"] = 2
    write_json(path / "manifest.json", content)
    with pytest.raises(StageError, match="its fingerprint is not that of its content"):
        manifest(path)


def test_counts_of_any_form_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "k" / "x"
    made(path, build=lambda folder: build(folder) | {"by_size": {10: (1, 2)}, "loss": float("nan")})
    assert manifest(path)["counts"]["by_size"] == {"10": [1, 2]}
