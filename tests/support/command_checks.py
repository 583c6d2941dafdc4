"""The check of a command that a text shows: composed as run.py does, or looked up."""

import functools
import importlib.util
import os
import re
import subprocess
import tomllib
from collections.abc import Sequence

import pytest
from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Transformer
from markdown_pages import ROOT, Command
from omegaconf import OmegaConf

from qurating.pipeline import checks, preflight
from qurating.pipeline.overrides import with_main_job


def text_of(override: Override, value: str) -> str:
    return f"{override.get_key_element()}={value}"


def cells(overrides: Sequence[str], multirun: bool) -> list[list[str]]:
    """The first and the last cell of what a command runs, as overrides; one, if it is no sweep.

    Raises ValueError for values to sweep over in a command that runs once.
    """
    parser = OverridesParser.create()
    parsed = parser.parse_overrides(list(overrides))
    decisive = [o.input_line or "" for o in parsed if o.key_or_group in ("experiment", "hydra.mode")]
    mode, params = mode_and_sweep(tuple(decisive))
    swept = [override for override in parsed if override.is_sweep_override()]
    fixed = [override.input_line or "" for override in parsed if not override.is_sweep_override()]
    if not multirun and mode != "MULTIRUN":
        if swept:
            raise ValueError(f"{swept[0].input_line} is a sweep, and the command runs once: it needs -m")
        return [fixed]
    named = {override.key_or_group for override in parsed}
    swept += parser.parse_overrides([f"{key}={value}" for key, value in params if key not in named])
    found = [[*fixed, *(text_of(override, values(override)[place]) for override in swept)] for place in (0, -1)]
    return found if found[0] != found[1] else found[:1]


@functools.cache
def mode_and_sweep(overrides: tuple[str, ...]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Hydra's mode, and what is swept if nobody says otherwise, under an experiment."""
    hydra = compose("config", list(overrides), return_hydra_config=True).hydra
    return hydra.mode.name if hydra.mode else "RUN", tuple((hydra.sweeper.params or {}).items())


def values(override: Override) -> list[str]:
    """What a sweep gives to a key, as it is written; one value, if it is no sweep."""
    if override.is_sweep_override():
        return [str(value) for value in override.sweep_iterator(transformer=Transformer.encode)]
    return [override.get_value_element_as_str()]


def check_cell(overrides: Sequence[str], num_processes: int) -> None:
    """Compose a cell as `run.py` does, and refuse what it would refuse before the work starts, files aside."""
    config = compose("config", list(overrides))
    names = {str(stage): config.artifacts[stage] for stage in config.artifacts}
    checks.check(config, names)
    OmegaConf.to_container(config, resolve=True)
    if "hydra/launcher=slurm_gpu" in overrides:
        num_processes = config.trainer.devices * config.trainer.num_nodes
    stages = [str(stage) for stage in config.stages if names.get(str(stage))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORLD_SIZE", str(num_processes))
        preflight.check_processes(config, stages)


def check_run(arguments: Sequence[str], num_processes: int = 1) -> None:
    """Check the arguments of `run.py`: its flags, and each cell's configuration."""
    if "--help" in arguments:
        assert len(arguments) == 1
        return
    left = list(arguments)
    if "--cfg" in left:
        place = left.index("--cfg")
        assert left[place : place + 2] == ["--cfg", "job"]
        del left[place : place + 2]
    multirun = "-m" in left
    overrides = [word for word in left if word != "-m"]
    assert not [word for word in overrides if word.startswith("-")], "a flag that nobody knows here"
    for cell in cells([word for word in with_main_job(left) if word != "-m"], multirun):
        check_cell(cell, num_processes)


def check_torchrun(arguments: Sequence[str]) -> None:
    from torch.distributed.run import get_args_parser

    given = get_args_parser().parse_args(list(arguments))
    assert given.training_script == "run.py"
    check_run(given.training_script_args, int(given.nproc_per_node))


def check_python(arguments: Sequence[str]) -> None:
    if arguments[0] == "run.py":
        return check_run(arguments[1:])
    if arguments[0] == "-m":
        assert importlib.util.find_spec(arguments[1]), f"there is no module {arguments[1]}"
        paths = [word for word in arguments[2:] if arguments[1] == "pytest" and not word.startswith("-")]
    else:
        paths = [arguments[0]]
    for path in paths:
        assert (ROOT / path).exists(), f"there is no {path}"
    return None


def check_make(arguments: Sequence[str]) -> None:
    targets = re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for target in arguments:
        assert target in targets, f"the Makefile has no target {target}"


def check_pip(arguments: Sequence[str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert arguments[0] == "install"
    options = [word for word in arguments[1:] if word.startswith("-")]
    assert set(options) <= {"-e", "--no-deps"}
    for name in (word for word in arguments[1:] if not word.startswith("-")):
        extra = re.fullmatch(r"\.\[(\w+)\]", name)
        # the one package that is not of this project: a skipped test names it
        assert name == "wordllama" or (extra and extra[1] in extras), f"nobody knows {name}"


def check_environment(arguments: Sequence[str]) -> None:
    assert list(arguments) == [".venv/bin/activate"]
    assert re.search(r"^VENV := \.venv$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def check_ci(arguments: Sequence[str]) -> None:
    assert not arguments
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True)


KINDS = {
    "python": check_python,
    "python3": check_python,
    ".venv/bin/python": check_python,
    "torchrun": check_torchrun,
    "make": check_make,
    "pip": check_pip,
    ".": check_environment,
    ".ci/run": check_ci,
}


def check(command: Command) -> None:
    if command.words[0] not in KINDS:
        raise ValueError(f"no check knows {command.words[0]!r}: add one to KINDS, or mark the block as not run")
    KINDS[command.words[0]](command.words[1:])
