"""The study of LQS: from the text to the numbers and figures of the README, in one command.

python experiments/lqs/study.py              from the root of the repository; complete commands are skipped
python experiments/lqs/study.py --smoke      a few minutes, to check that it runs; writes no number and no figure here

The study calls the framework by `python run.py ...`, as any user would. It prints each of these commands, and keeps
their output in <artifacts>/logs. They run with one thread each, two at a time, so that no figure depends on the number
of cores.
"""

import argparse
import concurrent.futures
import dataclasses
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from experiments.lqs import mixture  # noqa: E402
from qurating.artifacts.files import read_json, write_json  # noqa: E402

HERE = Path(__file__).resolve().parent
SEEDS = (0, 1, 2)
EXPERIMENT = ("--config-dir", "experiments/lqs/conf", "+experiment=lqs_mixture")


@dataclasses.dataclass
class Sizes:
    tokens_a_kind: int = 80_000  # held-out documents included
    vocabulary: int = 2048
    proxies: tuple[int, ...] = (192, 768)  # the language models use the last
    reference_proxies: int = 96
    reference_steps: int = 21
    overrides: tuple[str, ...] = ()


SMOKE = Sizes(
    tokens_a_kind=30_000,
    vocabulary=512,
    proxies=(40, 80),
    reference_proxies=24,
    reference_steps=21,
    overrides=(
        "num_tokens=24_000",
        "annotation.pretrain_tokens=24_000",
        "annotation.num_steps=21",
        "target.max_sequences=12",
        "model.network.hidden_size=32",
        "scorer.network.hidden_size=32",
        "scorer.num_epochs=1",
    ),
)


@dataclasses.dataclass
class Command:
    """One call of run.py."""

    name: str
    stages: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    after: tuple[str, ...] = ()  # names of commands


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", default="artifacts/lqs_study", help="folder of all artifacts (%(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="parallel commands, of one thread each (%(default)s)")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    os.chdir(ROOT)
    artifacts = Path(options.artifacts) / "smoke" if options.smoke else Path(options.artifacts)
    sizes = SMOKE if options.smoke else Sizes()
    build_mixture(artifacts, sizes)
    made = run_all(commands(artifacts, sizes), artifacts, sizes.overrides, options.jobs)

    from experiments.lqs import findings, plots

    found = findings.collect(made, sizes.proxies, SEEDS)
    done = {name: read_json(artifacts / "done" / f"{name}.json") for name in made}
    found["seconds"] = {key: {name: done[name][key] for name in made} for key in ("seconds", "cpu_seconds")}
    output = artifacts / "results" if options.smoke else HERE
    write_json(output / "results.json", found)
    plots.draw_all(found, output / "figures")
    tables = findings.tables(found)
    if not options.smoke:
        findings.put_tables(HERE / "README.md", tables)
    print("\n\n".join(tables.values()))


def build_mixture(artifacts: Path, sizes: Sizes) -> None:
    """Write the corpus of six kinds, unless it exists."""
    folder, done = artifacts / "mixture", artifacts / "mixture" / "documents.json"
    settings = {"num_tokens": sizes.tokens_a_kind, "vocabulary_size": sizes.vocabulary, "seed": 0}
    if done.is_file() and read_json(done)["settings"] == settings:
        return
    print(f"the mixture of {', '.join(mixture.KINDS)}: writes {folder}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    counts = mixture.build(folder, **settings)
    write_json(done, {"settings": settings, "documents": counts, "seconds": round(time.monotonic() - start, 1)})


def commands(artifacts: Path, sizes: Sizes) -> list[Command]:
    """All calls of run.py; each comes after the calls that it needs."""
    annotated = ("sample_proxy", "annotate_proxy")
    scored = (*annotated, "rescore_proxy", "train_scorer", "score")
    trained = ("select", "order", "train_lm", "evaluate")
    most = sizes.proxies[-1]
    found = [
        Command("corpus", ("prepare_corpus",)),
        Command("proxy_lm", ("pretrain_proxy", "prepare_target"), after=("corpus",)),
    ]
    # 1 and 2: annotations of several sizes; one without denominator; a second of everything, by another seed
    for number in reversed(sizes.proxies):
        own: tuple[str, ...] = (f"annotation.num_proxy_sequences={number}",)
        found.append(Command(f"lqs_{number}", scored, own, after=("proxy_lm",)))
    own = (f"annotation.num_proxy_sequences={most}",)
    found.append(Command("pds", scored, (*own, "annotation.denominator=none"), after=("proxy_lm",)))
    again = tuple(f"stages.{stage}.seed=1" for stage in (*annotated, "train_scorer"))
    found.append(Command("second", scored, (*own, *again), after=("proxy_lm",)))
    # 3: the reference, and the variants that cannot be computed from it
    exact = (
        f"annotation.num_proxy_sequences={sizes.reference_proxies}",
        f"annotation.num_steps={sizes.reference_steps}",
        "annotation.contribution_interval=1",
        "annotation.trajectory=keep",
    )
    variants: dict[str, tuple[str, ...]] = {
        "reference": (),
        "no_hessian": ("annotation.hessian=none",),
        "finite_differences": ("annotation.hessian=finite_differences",),
        "bf16_differences": ("annotation.trajectory=bf16_differences",),
        "bf16": ("annotation.precision=bf16-mixed",),
    }
    for name, own in variants.items():
        found.append(Command(name, annotated, (*exact, *own), after=("proxy_lm",)))
    own = ("annotation.contribution_interval=10", "annotation.trajectory=recompute")
    found.append(Command("interval_10", annotated, (*exact[:2], *own), after=("proxy_lm",)))
    # 4: language models
    by_lqs = (f"annotation.num_proxy_sequences={most}", "selection=top_k")
    methods: dict[str, tuple[tuple[str, ...], str]] = {
        "uniform": (("selection=uniform",), "proxy_lm"),
        "lqs": (by_lqs, f"lqs_{most}"),
        "lqs_folded": ((*by_lqs, "ordering=folding"), f"lqs_{most}"),
        "pds": ((*by_lqs, "annotation.denominator=none"), "pds"),
    }
    for seed in SEEDS:
        seeds = tuple(f"stages.{stage}.seed={seed}" for stage in trained[:3])
        for method, (own, after) in methods.items():
            found.append(Command(f"lm_{method}_{seed}", trained, (*own, *seeds), after=(after,)))
    return found


def run_all(
    wanted: Sequence[Command], artifacts: Path, overrides: tuple[str, ...], jobs: int
) -> dict[str, dict[str, Path]]:
    """Run commands in parallel; returns for each the folders of its artifacts by stage."""
    futures: dict[str, concurrent.futures.Future[dict[str, Path]]] = {}

    def do(command: Command) -> dict[str, Path]:
        for name in command.after:
            futures[name].result()
        return run(command, artifacts, overrides)

    # a command comes after those that it needs, so that none waits for one that has not begun
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for command in wanted:
            futures[command.name] = pool.submit(do, command)
        return {name: future.result() for name, future in futures.items()}


def run(command: Command, artifacts: Path, overrides: tuple[str, ...]) -> dict[str, Path]:
    """Run one command, unless it is complete; returns the folders of its artifacts by stage.

    Raises:
        SystemExit: the command failed; names its log.
    """
    stages = f"stage=[{','.join(command.stages)}]"
    given = [*EXPERIMENT, f"paths.artifacts={artifacts}", *overrides, stages, *command.overrides]
    done, log = artifacts / "done" / f"{command.name}.json", artifacts / "logs" / f"{command.name}.log"
    if not (done.is_file() and read_json(done)["arguments"] == given):
        print(f"python run.py {shlex.join(given)}", flush=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        folder = artifacts / "hydra" / command.name
        start = time.monotonic()
        with open(log, "w", encoding="utf-8") as stream:
            process = subprocess.Popen(
                [sys.executable, "run.py", *given, f"hydra.run.dir={folder}"],
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            )
            _, status, used = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{command.name} failed, see {log}:\n{log.read_text(encoding='utf-8')[-2000:]}")
        record = {
            "arguments": given,
            "artifacts": read_json(folder / "artifacts.json"),
            "seconds": round(time.monotonic() - start, 1),
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),  # other work may slow the machine down
        }
        write_json(done, record)
    return {stage: artifacts / name for stage, name in read_json(done)["artifacts"].items()}


if __name__ == "__main__":
    main()
