"""A manifest records how an artifact was made, and reading it notices missing files."""

from pathlib import Path
from typing import Any

import pytest
from artifact_example import IDENTITY, made, wanted

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
