"""Every command, setting, link and path that the documentation shows: composed, run, or looked up."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from command_checks import cells, check, check_cell
from markdown_pages import PAGES, RECIPES, ROOT, anchors, blocks, commands, commands_of, inline_code, links
from tokenizers import ByteLevelBPETokenizer

CONF = ROOT / "conf"
LANGUAGES = {"sh", "python", "yaml", "text", "mermaid", "bibtex"}
NUM_NOT_RUN = 2  # blocks that are marked as not run: `wandb sync` and `push_to_hub`, which need an account
NUM_COMMANDS_AT_LEAST = 80  # fewer are found only if the pages are no longer read as they are written


# ---------------------------------------------------------------- commands


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_composes_or_is_there(page: Path, conf: Path) -> None:
    made = made_by_recipes()
    wrong = []
    for command in dict.fromkeys(commands(page)):
        if page == RECIPES and uses_what_is_made(command.words, made):
            continue  # run for real, with the files that it needs, by test_recipes.py
        try:
            check(command)
        except (Exception, SystemExit) as error:
            wrong.append(f"{command.place}: {' '.join(command.words)}\n    {type(error).__name__}: {error}")
    assert not wrong, "\n".join(wrong)


def test_commands_are_found_where_they_are() -> None:
    assert sum(len(commands(page)) for page in PAGES) >= NUM_COMMANDS_AT_LEAST
    places = {command.place for command in commands(ROOT / "README.md")}
    assert {"README.md:3", "README.md in backticks"} <= places


def made_by_recipes() -> set[str]:
    """The choices that recipes add: their names."""
    files = [block.file["path"] for block in blocks(RECIPES) if block.file]
    return {Path(path).stem for path in files if path.startswith("conf/") and not (ROOT / path).exists()}


def uses_what_is_made(words: Sequence[str], made: set[str]) -> bool:
    return any(name in re.split(r"[=\[\],]", word) for word in words for name in made)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("python run.py selection=no_such", "Could not find 'selection/no_such'"),
        ("python run.py model.network.no_such.part=1", "Could not override"),
        ("python run.py no_such=1", "Could not override"),
        ("python run.py -m +experiment=select_and_train selection=uniform,no_such", "Could not find"),
        ("python run.py +experiment=select_and_train selection=uniform,top_k", "it needs -m"),
        ("python run.py --no-such-flag", "a flag that nobody knows"),
        ("python run.py corpus=jsonl", "Missing mandatory value: corpus.paths"),
        ("python run.py trainer=gpu trainer.devices=4", "need 4 processes"),
        ("torchrun --nproc-per-node 2 run.py hydra.mode=RUN trainer=gpu trainer.devices=4", "need 4 processes"),
        ("make no_such", "no target"),
        ("pip install -e '.[no_such]'", "nobody knows"),
        ("python no_such.py", "there is no no_such.py"),
        ("no_such_program run.py", "no check knows 'no_such_program'"),
    ],
)
def test_a_command_that_would_not_work_is_found(line: str, message: str, conf: Path) -> None:
    (command,) = commands_of(line, "here")
    with pytest.raises((Exception, AssertionError), match=re.escape(message)):
        check(command)


def test_a_sweep_is_checked_at_its_first_and_last_cell(conf: Path) -> None:
    assert cells(["+experiment=baselines", "seed=3,4"], multirun=False) == [
        ["+experiment=baselines", "seed=3", "selection=uniform"],
        ["+experiment=baselines", "seed=4", "selection=sample_temperature2"],
    ]
    assert cells(["selection=top_k"], multirun=True) == [["selection=top_k"]]
    assert cells(["+experiment=select_and_train"], multirun=False) == [["+experiment=select_and_train"]]


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    for page in PAGES:
        for block in blocks(page):
            assert block.language in LANGUAGES, block.place
            if block.language == "yaml":
                assert block.file, f"{block.place}: YAML is shown as a file of a recipe, so that a test can make it"
                yaml.safe_load(block.text)
            assert not block.file or page == RECIPES, f"{block.place}: recipes are in {RECIPES.name} alone"


def test_what_is_not_run_has_a_reason() -> None:
    marked = [block for page in PAGES for block in blocks(page) if block.reason_not_run is not None]
    assert len(marked) == NUM_NOT_RUN, [block.place for block in marked]
    for block in marked:
        assert len((block.reason_not_run or "").split()) >= 3, block.place
    written = sum(page.read_text(encoding="utf-8").count("\n<!-- not run:") for page in PAGES)
    assert written == len(marked), "a mark stands directly before a block"


# ---------------------------------------------------------------- Python


def example_artifacts(folder: Path) -> None:
    """Under the names that the pages use: a corpus, ratings and a language model, of three short texts."""
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    texts = [__doc__ or "", example_artifacts.__doc__ or "", check_cell.__doc__ or ""]
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, vocab_size=300, special_tokens=["<|endoftext|>"])
    corpus = pa.table({"domain": ["docstrings"] * 3, "text": texts, "length": [len(text) for text in texts]})
    ratings = pa.table({f"{file.stem}_average": np.arange(3.0) for file in sorted((CONF / "criterion").glob("*.yaml"))})
    for place, table in (("corpora/embedded", corpus), ("ratings/rater-tiny-by-simulated", ratings)):
        (folder / "artifacts" / place / "train").mkdir(parents=True)
        pq.write_table(table, folder / "artifacts" / place / "train" / "00000.parquet")
    model = folder / "artifacts/models/lm-tiny-select_120K_tokens_uniform-across_domains"
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    LlamaForCausalLM(LlamaConfig(vocab_size=300, **sizes)).save_pretrained(model)
    PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token="<|endoftext|>").save_pretrained(model)


def test_python_of_the_pages_runs(tmp_path: Path) -> None:
    """In one process, as one program for each page."""
    example_artifacts(tmp_path)
    programs = {page: [b for b in blocks(page) if b.language == "python" and not b.file] for page in PAGES}
    assert any(programs.values())
    lines = [
        f"exec(compile({block.text!r}, {block.place!r}, 'exec'))" for found in programs.values() for block in found
    ]
    environment = os.environ | {"HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "writing_style_average" in ran.stdout
    assert (__doc__ or "")[:40] in ran.stdout


# ---------------------------------------------------------------- settings, links, paths


def keys(node: Any, prefix: str = "") -> set[str]:
    """The dotted keys of a mapping, those of inner mappings included."""
    if not isinstance(node, Mapping):
        return set()
    inner = (keys(value, f"{prefix}{key}.") for key, value in node.items())
    return {f"{prefix}{key}" for key in node}.union(*inner)


def settings() -> set[str]:
    """Every key that a file of conf/ has, whichever choices it takes to have it."""
    config = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))
    found = keys(config)
    for file in CONF.rglob("*/*.yaml"):
        group = ".".join(file.relative_to(CONF).parent.parts)
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        prefix = {"stage": f"stages.{file.stem}.", "criterion": "criteria."}.get(group, f"{group}.")
        if group == "criterion":
            found |= keys({file.stem: content}, prefix) | {f"{group}.{key}" for key in content}
        elif group not in {"experiment", "scale"}:
            found |= keys(content, prefix)
    return found


def test_settings_in_backticks_exist() -> None:
    """`key=value` and `group.key`: that there is such a key; `group=choice`: that there is such a file."""
    groups = {".".join(file.relative_to(CONF).parent.parts) for file in CONF.rglob("*/*.yaml")}
    known, checked, wrong = settings(), 0, []
    # from other libraries: options of peft, of a launcher, of a network's architecture
    passed_on = re.compile(r"hydra\.|rater\.lora\.|(model|rater|scorer)\.network\.|trainer\.NAME|peft\.|criteria\.NAME")
    no_setting = re.compile(r"key=value|group=choice|\w+\.(json|parquet)|judge/[\w/<>]+")  # or a metric of a stage
    for page in PAGES:
        for code in inline_code(page):
            found = re.fullmatch(r"['\"]?[+~]{0,2}([a-z][\w./@]*)=?(?:(?<==)(.*?))?['\"]?", code, re.DOTALL)
            if not found or passed_on.match(found[1]) or no_setting.fullmatch(code):
                continue
            key, value = found[1].split("@")[0].replace("/", "."), found[2]
            first = key.split(".")[0]
            if value is None and ("." not in key or first not in groups | {"stages", "criteria", "paths", "artifacts"}):
                continue  # a file, a function, a word
            checked += 1
            if key in groups:
                choices = re.fullmatch(r"[a-z]\w*(\.\w+)?(,[a-z]\w*)*", value or "")
                files = [CONF / key.replace(".", "/") / f"{choice}.yaml" for choice in (value or "").split(",")]
                if choices and not all(file.is_file() or file.stem in made_by_recipes() for file in files):
                    wrong.append(f"{page.name}: there is no such choice: {code}")
            elif key not in known and not key.startswith("artifacts."):
                wrong.append(f"{page.name}: there is no such setting: {code}")
    assert not wrong, "\n".join(wrong)
    assert checked > 100


def test_links_lead_somewhere() -> None:
    wrong, checked = [], 0
    for page in [*PAGES, ROOT / "ARCHITECTURE.md"]:
        for link in links(page):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            checked += 1
            if not target.exists():
                wrong.append(f"{page.name}: {link}: there is no such file")
            elif anchor and anchor not in anchors(target):
                wrong.append(f"{page.name}: {link}: there are {', '.join(sorted(anchors(target)))}")
    assert not wrong, "\n".join(wrong)
    assert checked > 40


def test_every_page_can_be_reached() -> None:
    linked = {(page.parent / link.partition("#")[0]).resolve() for page in PAGES for link in links(page)}
    assert {page for page in PAGES if page.parent == ROOT / "docs"} <= linked


# The pages name the modules' new places already. Passes once all have moved; the mark goes then (it is strict).
def test_paths_in_backticks_exist() -> None:
    made = {block.file["path"] for block in blocks(RECIPES) if block.file}
    wrong, checked = [], 0
    for page in [*PAGES, ROOT / "ARCHITECTURE.md"]:
        for code in inline_code(page):
            if re.fullmatch(r"(qurating|conf|tests|benchmarks|experiments|docs|\.ci)/[\w./*-]*", code):
                checked += 1
                if code not in made and not list(ROOT.glob(code)):
                    wrong.append(f"{page.name}: {code}")
            elif re.fullmatch(r"qurating(\.\w+)+", code):
                checked += 1
                module = (ROOT / code.replace(".", "/"), ROOT / code.rpartition(".")[0].replace(".", "/"))
                if not any(path.is_dir() or path.with_suffix(".py").is_file() for path in module):
                    wrong.append(f"{page.name}: {code}")
    assert not wrong, "\n".join(wrong)
    assert checked > 40


def test_readme_is_a_front_door() -> None:
    """The two commands and the picture come first; it is short, and no line is long."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 200
    assert max(map(len, lines)) <= 120
    first = [command.words for command in commands_of(blocks(ROOT / "README.md")[0].text, "README.md")]
    assert first == [("make", "demo"), ("make", "test")]
    picture = next(number for number, line in enumerate(lines) if line.startswith("!["))
    assert not [line for line in lines[1:picture] if line and not line.startswith(("```", "make "))]
    assert (ROOT / "docs/images/loss_by_tokens.png").stat().st_size < 300_000
