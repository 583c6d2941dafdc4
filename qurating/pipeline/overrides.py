"""Overrides of settings that some cells lack: one list of overrides fits several lists of stages, and several choices.

A cell whose choices lack a setting is composed without its override (`hydra_internals.leave_out_what_choices_lack`).
Here the user is told, and a setting that no cell has is refused.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from qurating.pipeline.hydra_internals import choices_with, lacks
from qurating.runtime.errors import StageError

MAIN_JOB = "+experiment=quickstart"


def with_main_job(words: Sequence[str]) -> list[str]:
    """The words of a command line, with the main job first if they name no experiment, config or sweep."""
    named = any(re.match(r"\+*experiment=|--config-name\b|-cn\b|-m$|--multirun$", word) for word in words)
    return [*words] if named else [MAIN_JOB, *words]


def left_out(overrides: Sequence[str], cells: Iterable[DictConfig]) -> list[str]:
    """One line for each override that is left out of some cells, or that concerns a stage that no cell has.

    Args:
        overrides: of the command line, sweeps included.
        cells: composed, with `hydra`; read once.

    Raises:
        StageError: the setting of a group that none of the cells has; names the choices that have it.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    lacking: list[Counter[str]] = [Counter() for _ in parsed]  # cells by their choice
    num_cells = 0
    for cell in cells:
        num_cells += 1
        for override, choices in zip(parsed, lacking, strict=True):
            if lacks(cell, override):
                group = override.key_or_group.split(".")[0]
                choices[str(cell.hydra.runtime.choices.get(group))] += 1
    lines = []
    for override, choices in zip(parsed, lacking, strict=True):
        group, first, *_ = [*override.key_or_group.split("."), ""]
        if choices and group == "stages":
            effect = "changes the name of its artifact at most"
            lines.append(f"{override.input_line}: the stage {first} is not chosen, so this {effect}")
        elif choices.total() == num_cells:
            raise StageError(
                f"{override.key_or_group} is a setting of {', '.join(choices_with(override.key_or_group))}, and "
                f"{group} is {', '.join(choices)}"
            )
        elif choices:
            lines.append(
                f"{override.input_line} is left out of {choices.total()} of {num_cells} cells: {group}="
                f"{', '.join(choices)} without such a setting"
            )
    return lines
