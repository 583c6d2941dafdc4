"""Help on the command line: quick, and with the available names."""

import shlex
import subprocess
import sys
import time

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from repository import ROOT

from qurating.pipeline import help


@pytest.mark.usefixtures("conf")
def test_a_key_that_does_not_exist_is_explained() -> None:
    assert help.explain(["selection=sample", "selection.temprature=2"]) == [
        "selection has no setting 'temprature'; available: by_domain, criterion, domain_column, domain_weights, "
        "inverse, label, name, normalisation, num_tokens, on_short_domain, ratings, rule, temperature (did you mean "
        "'temperature'?)."
    ]
    assert "did you mean 'rater'" in help.explain(["raterr.max_tokens=2"])[0]
    # what one choice makes unknown does not spoil what another makes known
    explained = help.explain(["corpus=jsonl", "selection=topk", "corpus.paths=x", "corpus.pats=x"])
    assert len(explained) == 1
    assert "did you mean 'paths'" in explained[0]
    assert "judge.min_words is now called min_tokens" in help.explain(["judge.min_words=10"])[0]
    assert help.explain(["seed=1", "+trainer.max_time=x", "hydra/launcher=slurm"]) == []


@pytest.mark.usefixtures("conf")
def test_alternatives_come_from_stages_and_choices_that_are_not_chosen() -> None:
    (line,) = help.explain(["-m", "selection=uniform,mix", "selection.temprature=2"])
    assert line.endswith("(did you mean 'temperature'?).")
    (line,) = help.explain(["stage=[select]", "stages.rate.shrad=0"])
    assert line.startswith("stages.rate has no setting 'shrad'")
    # a setting of another choice is known
    assert help.explain(["selection=uniform", "selection.temperature=2", "stage=[select]", "stages.rate.shard=0"]) == []


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize(
    "value",
    ["a=b.jsonl", "café.jsonl", "~/x", 'a"b=c', "it's=x", "a\\=é", "é\\", 'a\\"=', "a;b", "x,seed=1", "#1", "a&b"],
)
def test_a_value_that_hydra_cannot_read_is_shown_in_quotes(value: str) -> None:
    word = f"corpus.paths={value}"
    with pytest.raises(HydraException):
        OverridesParser.create().parse_override(word)
    (line,) = help.explain(["-m", "seed=1", word])
    quoted = line.split("for the shell: ")[1].split("; to sweep")[0]
    (word,) = shlex.split(quoted)
    assert OverridesParser.create().parse_override(word).value() == value


@pytest.mark.usefixtures("conf")
def test_lists_sweeps_and_words_that_the_shell_splits_are_quoted_too() -> None:
    (line,) = help.explain(["corpus.paths=[a=b,c]"])
    assert shlex.split(line.split("for the shell: ")[1]) == ['corpus.paths=["a=b","c"]']
    (line,) = help.explain(["-m", "subset=a,seed=1,é"])
    assert shlex.split(line.split("to sweep over 3 values: ")[1]) == ['subset="a","seed=1","é"']
    (line,) = help.explain(["--cfg", "job", "corpus.paths=my", "own", "file.jsonl", "seed=1"])
    assert line.endswith("quote it for the shell: 'corpus.paths=my own file.jsonl'")
    for words in (["corpus.paths={a=b: 1}"], ["nonsense"], ["a b=c"]):
        assert "an override is key=value" in help.explain(words)[0]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=1200)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("selection=nonsense", "Available options in 'selection':"),
        ("stage=[prepare,select]", "stage has no choice 'prepare'; available: analyse, analyse_ratings,"),
        ("+experiment=lsq", "Available options in 'experiment':"),
        ("selection.temprature=2", "selection has no setting 'temprature'; available: "),
        ("corpus.paths=a=b.jsonl", """: 'corpus.paths="a=b.jsonl"'"""),
        ("nosuchgroup=2", "Unknown setting 'nosuchgroup'; available: "),
    ],
)
def test_the_command_line_lists_what_exists(argument: str, message: str) -> None:
    found = run(argument)
    assert found.returncode == 1
    assert message in found.stderr
    assert "Traceback" not in found.stderr


def test_the_flag_of_a_sweep_may_stand_anywhere() -> None:
    found = run("seed=1", "-m", "selection.temprature=2")
    assert "selection has no setting 'temprature'; available: " in found.stderr


def test_help_and_config_answer_without_heavy_imports() -> None:
    """What makes `--help` quick: nothing heavy is imported. The seconds are measured in benchmarks/."""
    code = (
        "import runpy, sys; sys.argv = ['run.py', *sys.argv[1:]]\n"
        "try: runpy.run_path('run.py', run_name='__main__')\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "heavy = {'torch', 'transformers', 'pytorch_lightning', 'datasets', 'pyarrow', 'matplotlib', 'openai'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()"
    )
    for argument in ("--help", "--cfg=job"):
        started = time.monotonic()
        found = subprocess.run([sys.executable, "-c", code, argument], cwd=ROOT, capture_output=True, text=True)
        assert found.returncode == 0, found.stderr
        assert len(found.stdout.splitlines()) > 20
        assert time.monotonic() - started < 600  # hangs are failures, slowness is not
