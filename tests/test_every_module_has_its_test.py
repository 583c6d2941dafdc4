"""Each module has a test file that bears its name, in the room of its name."""

import re
from pathlib import Path

from repository import ROOT

OTHERS = {"docs", "experiments"}  # they are not of the package
OF_THE_HOUSE = {"test_house.py", Path(__file__).name}  # of all modules


def test_every_module_has_a_test_file_and_every_test_file_names_a_module() -> None:
    """qurating/<room>/<module>.py has tests/<room>/test_<module>.py, or files test_<module>_<topic>.py."""
    package, tests = ROOT / "qurating", ROOT / "tests"
    paths = [path.relative_to(package).with_suffix("") for path in package.rglob("*.py") if path.stem != "__init__"]
    # a module of nothing but constants has nothing to test
    code = {path: (package / path).with_suffix(".py").read_text(encoding="utf-8") for path in paths}
    modules = {path for path in paths if re.search(r"^(def|class|async def) ", code[path], re.MULTILINE)}
    assert modules
    tested, without_a_module = set[Path](), list[str]()
    for file in tests.rglob("test_*.py"):
        room = file.parent.relative_to(tests)
        if room.as_posix() in OTHERS or file.name in OF_THE_HOUSE:
            continue
        named = [m for m in modules if m.parent == room and f"{file.stem}_".startswith(f"test_{m.name}_")]
        if named:  # test_judge_figures.py is of `judge_figures`, and not of `judge`
            tested.add(max(named, key=lambda module: len(module.name)))
        else:
            without_a_module.append(str(room / file.name))
    assert not without_a_module
    assert sorted(map(str, modules - tested)) == []
