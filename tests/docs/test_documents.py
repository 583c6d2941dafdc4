"""What README.md and ARCHITECTURE.md say, against what is there."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from repository import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def test_the_readme_opens_with_the_two_commands() -> None:
    assert re.search(r"```\nmake demo .*\nmake test ", README[:1200])


def test_every_file_has_its_line_in_the_architecture() -> None:
    house = ARCHITECTURE.split("## The house")[1].split("###")[0]
    for file in (ROOT / "qurating").rglob("*.py"):
        if file.name != "__init__.py":
            name = file.stem if file.parent.name == "stages" else file.name
            assert re.search(rf"\b{re.escape(name)}\b", house), f"{name} has no line in ARCHITECTURE.md"


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


COMMANDS = sorted(set(re.findall(r"^python run\.py (?!-)(.+)$", README.replace("\\\n", ""), re.MULTILINE)))


@pytest.mark.parametrize("arguments", COMMANDS)
def test_the_readmes_commands_compose(arguments: str, tmp_path: Path) -> None:
    """Each command of the README, without a sweep, as `--cfg job`; the criterion that it has one write is there."""
    criterion = re.search(r"```yaml\n(name: clarity\n.*?)```", README, re.DOTALL)
    assert criterion
    (tmp_path / "criterion").mkdir()
    (tmp_path / "criterion" / "clarity.yaml").write_text(criterion[1], encoding="utf-8")
    command = f"{sys.executable} run.py --config-dir {tmp_path} --cfg job {arguments}"
    found = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr
