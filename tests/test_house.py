"""The floors and rooms of the package, as data, against every import of every file."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import ROOT

# files of the package itself: `python -m qurating.<name>`
COMMANDS = ("dashboard", "push_to_hub", "results", "status", "verify")
# From top to bottom. A room may import rooms of the floors below, and of its own floor where that makes no circle.
FLOORS = (
    COMMANDS,
    ("pipeline",),
    ("stages",),
    ("reports",),
    ("judging", "rating", "selection", "lqs", "evaluation", "analysis"),
    ("training",),
    ("models", "datamodules"),
    ("corpus", "metrics"),
    ("artifacts",),
    ("runtime",),
)
MAX_MODULES = 15  # in a folder
STRANGERS = {("models", "datamodules"), ("datamodules", "models")}  # rooms of one floor that do not know each other
# Pure maths: of this package these import only each other, and of others none that is heavy but numpy and torch.
MATHS = {
    *("corpus.hashing", "corpus.labels", "corpus.windows", "corpus.words"),
    *("metrics.bradley_terry", "metrics.choices", "metrics.perplexity", "metrics.ranks", "metrics.rater"),
    *("metrics.scorer", "metrics.shares", "metrics.student", "metrics.token_efficiency"),
    *("selection.budgets", "selection.cutoff", "selection.noise", "selection.ordering", "selection.rows"),
    *("selection.rules", "selection.statistics"),
    *("judging.endpoint.replies", "judging.measures", "judging.preferences"),
    "rating.importance",
    *("lqs.gradient_rules", "lqs.optimal_control", "lqs.per_sample_gradients"),
}
PACKAGE = ROOT / "qurating"
FILES = {
    ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): file
    for file in sorted(PACKAGE.rglob("*.py"))
}


def imports(name: str) -> Iterator[str]:
    """Full names of the modules that a file imports, wherever in the file; of this package without `qurating.`."""
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            module = node.module or ""
            if module.split(".")[0] != "qurating":
                yield module
                continue
            below = module.removeprefix("qurating").lstrip(".")
            for alias in node.names:
                full = f"{below}.{alias.name}".lstrip(".")
                yield f"qurating.{full if full in FILES else below}".rstrip(".")


def own_imports(name: str) -> set[str]:
    """Files of this package that a file imports, but for itself; `qurating` itself (its version) is nobody's room."""
    found = {each.removeprefix("qurating.") for each in imports(name) if each.startswith("qurating.")}
    return found - {name}


def room(name: str) -> str:
    return name.split(".")[0]


def floor(name: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room(name) in rooms)


MODULES = [name for name in FILES if name not in ("__init__", "qurating") and name]


def test_every_room_has_its_floor() -> None:
    rooms = {file.name for file in PACKAGE.iterdir() if file.is_dir() and any(file.glob("*.py"))}
    assert rooms == {each for floor in FLOORS[1:] for each in floor}
    assert {file.stem for file in PACKAGE.glob("*.py")} == {"__init__", *COMMANDS}


@pytest.mark.parametrize("folder", sorted({file.parent for file in FILES.values()}), ids=str)
def test_a_room_is_small_enough_to_remember(folder: Path) -> None:
    modules = [file.name for file in folder.glob("*.py") if file.name != "__init__.py"]
    assert len(modules) <= MAX_MODULES


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name: str) -> None:
    for imported in own_imports(name):
        assert floor(imported) >= floor(name), f"{name} imports {imported}, of a floor above"
        assert (room(name), room(imported)) not in STRANGERS, f"{name} imports {imported}"


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The nodes of a graph that lie on a circle, or lead to one; none if it has no circle."""
    left = {node: set(edges) - {node} for node, edges in graph.items()}
    while ends := [node for node, edges in left.items() if not edges & left.keys()]:
        for node in ends:
            del left[node]
    return sorted(left)


def test_no_circle_of_files() -> None:
    assert circle({name: own_imports(name) for name in MODULES}) == []


def test_no_circle_of_rooms() -> None:
    """Folders of folders count by themselves: judging, judging.endpoint, judging.servers."""

    def folder(name: str) -> str:
        inside = name if FILES[name].name == "__init__.py" else name.rpartition(".")[0]
        return "stages" if inside.startswith("stages") else inside

    graph: dict[str, set[str]] = {}
    for name in MODULES:
        graph.setdefault(folder(name), set()).update(map(folder, own_imports(name)))
    assert circle(graph) == []


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []


def test_maths_imports_maths_and_numbers_alone() -> None:
    assert set(FILES) >= MATHS
    heavy = {"datasets", "pyarrow", "pandas", "hydra", "omegaconf", "pytorch_lightning", "aiohttp"}
    for name in sorted(MATHS):
        assert own_imports(name) <= MATHS, name
        layers = set() if name == "lqs.per_sample_gradients" else {"transformers"}  # it names the classes of layers
        assert not {each.split(".")[0] for each in imports(name)} & (heavy | layers), name


def test_no_stage_imports_another() -> None:
    stages = [name for name in MODULES if room(name) == "stages"]
    assert len(stages) > 20
    for name in stages:
        assert not {each for each in own_imports(name) if room(each) == "stages"}, name


def test_the_package_does_not_know_who_uses_it() -> None:
    for name in MODULES:
        assert not {each.split(".")[0] for each in imports(name)} & {"experiments", "benchmarks", "tests", "run"}, name
