"""Commands and overrides outside of the pages' blocks: in comments of conf/, help texts, messages and backticks."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_checks import check
from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from markdown_pages import PAGES, ROOT, blocks, commands_of, inline_code

from qurating.pipeline import hydra_internals

MORE_PAGES = [ROOT / "benchmarks" / "README.md", *sorted((ROOT / "experiments").glob("*/README.md"))]
# what stands for something of the user's
PLACEHOLDERS = {
    "PROMPT,COMPLETION": "1,2",
    "<kind>/<name>": "subsets/mine",
    "<file>": "x.arpa",
    "criteria.NAME=NAME": "criteria.lqs=lqs",
    # 1 stands for what is put into a message
    "criteria.1=1": "criteria.lqs=lqs",
    "artifacts.1=": "artifacts.select=",
    "stages.1.": "stages.rate.",
    "[…]": "[a,b]",
    "[...]": "[select]",
    ",...]": "]",
    "DEPLOYMENT": "gpt-4o",
    "+experiment=NAME": "+experiment=baselines",
}
_SPECIAL = re.compile(r"[\[\]{}*?<>()|;&$`\s]")
_VALUE = r"(?:\[[^\]]*\]|range\(\d\)|\"[^\"]*\"|[\w./<>-]+)"
_OVERRIDE = re.compile(r"[+~]{0,2}[a-z][a-z_]*(?:[./@][A-Za-z_0-9.@]+)*=")


def filled(text: str) -> str:
    for placeholder, value in PLACEHOLDERS.items():
        text = text.replace(placeholder, value)
    return text


def unquoted(code: str) -> list[str]:
    """The words of a line of a shell with characters outside of quotes that a shell reads in its own way."""
    bare = re.sub(r"'[^']*'|\"[^\"$`]*\"|\\.", "", code)
    return [word for word in bare.split() if _SPECIAL.search(word) and "=" in word]


def compose_alone(override: str) -> None:
    """Compose an override with a choice that has its setting; a sweep by its first value."""
    parsed = OverridesParser.create().parse_override(override)
    if parsed.is_sweep_override():
        override = f"{parsed.get_key_element()}={next(iter(parsed.sweep_string_iterator()))}"
    key = parsed.key_or_group
    choices = [] if key.startswith("hydra.") else hydra_internals.choices_with(key)
    launcher = ["hydra/launcher=slurm"] if key.startswith("hydra.launcher") else []
    first = [choice.replace("stage=", "stage=[") + "]" if choice.startswith("stage=") else choice for choice in choices]
    compose("config", [*first[:1], *launcher, override], return_hydra_config=bool(launcher))


def texts_of(file: Path) -> Iterator[str]:
    """The sentences of a module, with 1 for each value that is put into them; documentation is left out."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    left_out = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    left_out |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        text = ""
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "1" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            text = node.value
        if " " in text:
            yield text


def commands_in_comments() -> list[tuple[str, str]]:
    found = []
    for file in sorted((ROOT / "conf").rglob("*.yaml")):
        for line in file.read_text(encoding="utf-8").splitlines():
            if match := re.match(r"#\s+((?:[A-Z_]+=\S+ )?(?:python|pip|torchrun|make) .*)", line):
                found.append((file.name, match[1]))
    help_text = ast.get_docstring(ast.parse((ROOT / "run.py").read_text(encoding="utf-8"))) or ""
    found += [("run.py", re.split(r" {2,}", line)[0]) for line in help_text.splitlines() if line.startswith("python ")]
    return found


@pytest.mark.parametrize(("place", "line"), commands_in_comments())
def test_commands_in_comments_and_in_the_help_text_compose(place: str, line: str, conf: Path) -> None:
    (command,) = commands_of(filled(line), place)
    check(command)
    assert not unquoted(filled(line))


def test_there_are_commands_in_comments() -> None:
    assert {"azure.yaml", "released.yaml", "local.yaml", "endpoint.yaml", "run.py"} <= {
        p for p, _ in commands_in_comments()
    }


@pytest.mark.parametrize("page", [*PAGES, *MORE_PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_a_shell_leaves_the_commands_as_they_are(page: Path) -> None:
    for block in blocks(page):
        if block.language == "sh":
            for line in block.text.replace("\\\n", " ").splitlines():
                line = line.partition(" #")[0]
                wrong = [word for word in unquoted(line) if not word.startswith(("-", "$"))]
                assert not wrong, f"{block.place}: quote {wrong}"


@pytest.mark.parametrize("page", MORE_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_other_pages_compose(page: Path, conf: Path) -> None:
    for code in [*inline_code(page), *(block.text for block in blocks(page) if block.language == "sh")]:
        if re.match(r"(python|torchrun|make) ", code):
            for command in commands_of(code, page.name):
                check(command)


@pytest.mark.parametrize("page", [*PAGES, *MORE_PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_overrides_in_backticks_compose(page: Path, conf: Path) -> None:
    """Those with brackets, braces or quotes, as they stand, and as a shell reads them."""
    wrong = []
    for code in inline_code(page):
        text = filled(code)
        if not re.search(r"[\[{'\"(]", text) or not _OVERRIDE.match(text.lstrip("'\"")):
            continue
        try:
            for word in shlex.split(text):
                compose_alone(word)
            # a list of one word is left alone by a shell; what has a comma or a space in braces is not
            assert not re.search(r"\{[^}]*[, ]", re.sub(r"'[^']*'", "", text)), "a shell would split it: quote it"
        except Exception as error:
            wrong.append(f"{code}: {error}")
    assert not wrong, "\n".join(wrong)


def test_overrides_that_messages_advise_compose(conf: Path) -> None:
    checked, wrong = set(), []
    known = {*map(str, compose("config")), "stage"}
    for file in sorted((ROOT / "qurating").rglob("*.py")):
        for text in texts_of(file):
            for match in re.finditer(
                _OVERRIDE.pattern + r"(?:\[[^\]]*\]|range\(\d\)|\"[^\"]*\"|[\w./<>-]+)", filled(text)
            ):
                override = match[0].rstrip(".")
                key, value = override.split("=", 1)
                group = re.split(r"[./@]", key.lstrip("+~"))[0]
                if group not in known or value in {"1", "None"}:
                    continue  # no override; or one with a value that is only known when the message is made
                checked.add(override)
                try:
                    compose_alone(override)
                except Exception as error:
                    wrong.append(f"{file.name}: {override}: {error}")
    assert not wrong, "\n".join(wrong)
    assert {"artifacts.select=subsets/mine", "judge.usd_per_million_tokens=[0.15,0.60]"} <= checked
    assert len(checked) > 25
