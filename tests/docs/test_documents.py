"""What README.md and ARCHITECTURE.md say, against what is there."""

import re
import tomllib

from repository import ROOT

ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def test_every_room_has_its_line_in_the_architecture() -> None:
    drawing, table = ARCHITECTURE.split("## The house")[1].split("```")[1:3]
    rooms = sorted(file.parent.name for file in (ROOT / "qurating").glob("*/__init__.py"))
    for room in rooms:
        assert re.search(rf"\b{room}\b", drawing), f"{room} is not in the drawing"
        assert re.search(rf"^\| `{room}` \|", table, re.MULTILINE), f"{room} has no line"
    assert len(ARCHITECTURE.splitlines()) <= 200


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    reasons = ARCHITECTURE.split("## Dependencies")[1]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8").lower()
    for requirement in project["project"]["dependencies"] + project["dependency-groups"]["dev"]:
        name = re.match(r"[\w-]+", requirement)
        assert name
        assert name[0] in reasons, f"no reason for {name[0]}"
        assert re.search(rf"^{name[0]}==", lock, re.MULTILINE), f"{name[0]} is not pinned"
    assert "torch==2.13.0\n" in lock
