"""The table of stages, compared with the configuration and the functions of the stages."""

import ast
import re
from pathlib import Path
from typing import Any

import yaml
from repository import ROOT

from qurating.artifacts.lineage import CELL_STAGES, SHAREABLE, STAGES, TABLE, depends_on_selection

CONFIG = yaml.safe_load((ROOT / "conf/config.yaml").read_text(encoding="utf-8"))
RATINGS = {"rate", "import_ratings", "score", "measure_perplexity", "weigh_importance"}
# settings of the configuration that name artifacts, and the stages that may have made them
NAMED = {
    "judgments": {"judge", "import_judgments"},
    "ratings": RATINGS,
    "rated": RATINGS,
    "selection.ratings": RATINGS,
    "ordering.ratings": RATINGS,
    "subset": {"select", "check_subset"},
    "annotated": {"annotate_proxy", "rescore_proxy"},
    "evaluation_without": {"prepare_target"},
    "importance_target": {"prepare_target"},
    "judge.compare_with": {"judge"},
    "perplexity.language_model": {"pretrain_proxy"},
}


def given(stage: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / f"conf/stage/{stage}.yaml").read_text(encoding="utf-8"))
    return found


def test_the_table_has_every_stage_that_is_configured_and_no_other() -> None:
    assert sorted(STAGES) == sorted(file.stem for file in (ROOT / "conf/stage").glob("*.yaml"))
    assert sorted(STAGES) == sorted(CONFIG["artifacts"])
    modules = [file.stem for file in (ROOT / "qurating/stages").rglob("*.py") if file.stem != "__init__"]
    assert sorted(STAGES) == sorted(modules)


def test_a_stage_reads_what_stands_above_it() -> None:
    for place, stage in enumerate(TABLE):
        # judgments may be compared with a judge's earlier ones
        assert set(stage.reads) - {stage.name} <= set(STAGES[:place]), stage.name


def test_inputs_are_artifacts_that_the_table_lets_a_stage_read() -> None:
    for stage in TABLE:
        references: set[str] = set()
        for value in given(stage.name)["inputs"].values():
            text = str(value)
            references |= set(re.findall(r"\$\{artifacts\.(\w+)\}", text)) | set(re.findall(r"\$\{every:(\w+),", text))
            named = re.findall(r"\$\{(?:oc\.select:)?((?!artifacts)[\w.]+)[,}]", text)
            references |= set().union(*(NAMED[name] for name in named))
        assert references <= set(stage.reads), stage.name
        if stage.name != "report_subset":  # its other subsets are named by hand
            assert references == set(stage.reads) or not given(stage.name)["inputs"], stage.name


def test_artifacts_are_named_by_their_kind() -> None:
    for stage in TABLE:
        name = CONFIG["artifacts"][stage.name]
        assert name is None or f"{stage.kind}/" in name, stage.name


def test_stages_that_can_be_shared_have_a_shard() -> None:
    for stage in STAGES:
        assert ("shard" in given(stage)) == ("num_shards" in given(stage)) == (stage in SHAREABLE), stage


def test_runtime_settings_are_settings_of_their_stage() -> None:
    """A misspelt path would be compared again without any warning."""
    groups = {"trainer": "trainer", "optimizer": "model", "judge": "judge", "source": "judge", "reader": "corpus"}
    for stage in STAGES:
        for path in given(stage).get("runtime", []):
            first, *rest = path.removesuffix("?").split(".")
            assert first in given(stage), (stage, path)
            if rest:
                files = (ROOT / "conf" / groups[first]).glob("*.yaml")
                known = any(rest[-1] in file.read_text(encoding="utf-8") for file in files)
                added = {"enable_progress_bar", "fused"}  # of Lightning's Trainer, of Adam: for those who add them
                assert known or rest[-1] in added, (stage, path)


def test_targets_of_one_setting_have_different_names() -> None:
    """An identity has the name of a function without its module: choices of one setting need different names."""
    places: dict[tuple[str, str], set[str]] = {}
    for file in sorted((ROOT / "conf").rglob("*.yaml")):
        for target in re.findall(r"_target_: (qurating\.[\w.]+)", file.read_text(encoding="utf-8")):
            places.setdefault((file.parent.name, target.rsplit(".", 1)[-1]), set()).add(target)
    assert all(len(targets) == 1 for targets in places.values()), places


def test_stages_from_the_selection_on_depend_on_it() -> None:
    assert [name for name in CELL_STAGES if depends_on_selection(name)][:2] == ["select", "check_subset"]
    assert not depends_on_selection("rate")


def test_nothing_else_lists_the_stages() -> None:
    """Only the table has the order of the stages, and which of them can be shared."""
    for file in Path(ROOT / "qurating").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            items = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else []
            listed = [item.value for item in items if isinstance(item, ast.Constant) and item.value in STAGES]
            assert len(listed) <= 2 or file.stem == "lineage", (file, listed)
