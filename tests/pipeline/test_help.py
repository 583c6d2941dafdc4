"""Help on the command line: quick, and with the available names."""

import subprocess
import sys
import time

import pytest
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
    assert help.explain(["seed=1", "+trainer.max_time=x", "hydra/launcher=slurm"]) == []


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=1200)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("selection=nonsense", "Available options in 'selection':"),
        ("stage=[prepare,select]", "stage has no choice 'prepare'; available: analyse, annotate_proxy,"),
        ("+experiment=lsq", "Available options in 'experiment':"),
        ("selection.temprature=2", "selection has no setting 'temprature'; available: "),
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
