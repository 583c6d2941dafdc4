"""Help on the command line: the config groups with their choices, and alternatives to unknown words."""

import contextlib
import difflib
from collections.abc import Collection, Sequence
from typing import Any

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qurating.corpus.files import ROOT


def explain(overrides: Sequence[str]) -> list[str]:
    """One line per unknown key or choice, with its alternatives; for the user after Hydra has refused the config."""
    try:
        parsed = OverridesParser.create().parse_overrides([o for o in overrides if not o.startswith("-")])
    except HydraException:
        return []
    config, chosen = compose("config"), list[str]()
    for override in parsed:
        # apply each choice that composes: the keys of a group depend on it
        choice = override.input_line or ""
        if "." not in override.key_or_group and not override.is_sweep_override():
            with contextlib.suppress(HydraException, OmegaConfBaseException):
                config = compose("config", [*chosen, choice])
                chosen.append(choice)
    lines = []
    for override in parsed:
        options = {file.stem for file in (ROOT / "conf" / override.key_or_group).glob("*.yaml")}
        if options:  # a group; Hydra itself lists the options, but not for a list of choices
            value = override.value()
            unknown = [str(choice) for choice in value if choice not in options] if isinstance(value, list) else []
            lines += [f"{override.key_or_group} has no choice {c!r}; {alternatives(c, options)}." for c in unknown]
            continue
        node: Any = config
        walked = ""
        for part in override.key_or_group.split("@")[0].replace("/", ".").split("."):
            if not OmegaConf.is_dict(node) or override.is_add() or part == "hydra":
                break
            if part not in node.keys():  # noqa: SIM118  (`in node` is false for a missing value)
                known = {str(key) for key in node if not str(key).startswith("_")}
                problem = f"{walked} has no setting {part!r}" if walked else f"Unknown setting {part!r}"
                lines.append(f"{problem}; {alternatives(part, known)}.")
                break
            node, walked = node._get_node(part), f"{walked}.{part}".lstrip(".")
    return lines


def groups() -> list[str]:
    """One line per config group with its choices, for `--help`."""
    files = sorted((ROOT / "conf").rglob("*/*.yaml"))
    names = dict.fromkeys(file.parent.relative_to(ROOT / "conf").as_posix() for file in files)
    return [f"  {name:15} {', '.join(f.stem for f in files if f.parent == ROOT / 'conf' / name)}" for name in names]


def alternatives(word: str, names: Collection[str]) -> str:
    """The end of a message about an unknown word: the known names, and the nearest of them."""
    near = difflib.get_close_matches(word, names, n=1)
    return f"available: {', '.join(sorted(names))}" + (f" (did you mean {near[0]!r}?)" if near else "")
