"""The study of token efficiency: from the text to the numbers and figures of the README, in one command.

python experiments/efficiency/study.py              from the root of the repository; complete commands are skipped
python experiments/efficiency/study.py --all        also the larger model, which takes a third of the time
python experiments/efficiency/study.py --only main  one part: prepare, main, others, folding, raters, folds, sizes
python experiments/efficiency/study.py --smoke      minutes, to check that it runs; writes no number and no figure here

The study calls the framework by `python run.py -m ...`, as any user would. It prints each of these commands, and keeps
their output in <artifacts>/logs. The cells of a command run one after another in one process, because a process of its
own costs a cell of this size as much again. Two commands run at a time, with one thread each, so that no figure depends
on the number of cores. Results are made from the commands that are complete.
"""

import argparse
import concurrent.futures
import dataclasses
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from qurating.artifacts.files import read_json, write_json  # noqa: E402

HERE = Path(__file__).resolve().parent

# replicates of selecting, ordering and training
MAIN_SEEDS = (0, 1, 2, 3, 4)
OTHER_SEEDS = (0, 1, 2)
SIZE_SEEDS = (0, 1, 2)
FOLDING_SEEDS = (0, 1, 2)
AGAIN = (1, 2)  # seeds of the second raters and annotations; the first has 0
BY_DEFAULT = ("prepare", "main", "others", "folding", "raters", "folds")
BY_ALL = (*BY_DEFAULT, "sizes")

# Four times the parameters of the small one, which makes the scores for both.
MEDIUM = {
    "model.name": "medium",
    "model.network.hidden_size": 160,
    "model.network.intermediate_size": 440,
    "model.network.num_attention_heads": 5,
    "model.network.num_key_value_heads": 5,
    "artifacts.pretrain_proxy": "models/proxy-small",
}
PROXY = {"artifacts.pretrain_proxy": "models/proxy-small"}  # also where the language model is another one
Swept = Mapping[str, Sequence[object]]
PLAIN = ("prose_only", "sample_temperature2", "mix", "dsir", "perplexity_lowest", "perplexity_highest")
TRAINED = "[select,order,train_lm,evaluate]"


@dataclasses.dataclass(frozen=True)
class Sizes:
    budget: int = 150_000
    experiment: str = "efficiency"  # in conf/experiment
    overrides: tuple[str, ...] = ()
    main_seeds: int | None = None  # at most so many of MAIN_SEEDS; None: all
    other_seeds: int | None = None  # the same of all others

    @property
    def budgets(self) -> tuple[int, ...]:
        """Of uniform: the curve that factors are read from."""
        return self.budget // 2, self.budget, 2 * self.budget, 4 * self.budget


SMOKE = Sizes(budget=6_000, experiment="efficiency_smoke", main_seeds=2, other_seeds=1)


@dataclasses.dataclass(frozen=True)
class Sweep:
    """One call of run.py: what its cells share, and what they differ in."""

    part: str
    name: str
    swept: Swept
    fixed: Mapping[str, object] = dataclasses.field(default_factory=dict)
    after: tuple[str, ...] = ()  # names of earlier sweeps whose artifacts it reads

    def overrides(self) -> list[str]:
        return [f"{key}={value}" for key, value in self.fixed.items()] + [
            f"{key}={','.join(map(str, values))}" for key, values in self.swept.items()
        ]


@dataclasses.dataclass(frozen=True)
class Cell:
    """A trained and evaluated language model; `method` has the name of its sweep and what it was swept to."""

    method: str
    replicate: int
    folders: Mapping[str, Path]  # of its artifacts, by stage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--artifacts", default="artifacts/efficiency_study", help="folder of all artifacts (%(default)s)"
    )
    parser.add_argument("--jobs", type=int, default=2, help="parallel commands, of one thread each (%(default)s)")
    parser.add_argument("--only", action="append", choices=BY_ALL, help="a part; may be repeated")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="all parts, tiny, with few seeds")
    parser.add_argument("--own-text", help="a folder of text files that take the place of the prose")
    options = parser.parse_args()
    os.chdir(ROOT)
    artifacts = Path(options.artifacts) / "smoke" if options.smoke else Path(options.artifacts)
    sizes = SMOKE if options.smoke else Sizes()
    if options.own_text:
        sizes = dataclasses.replace(sizes, overrides=(*sizes.overrides, f"corpus.own_text={options.own_text}"))
    parts = {"prepare", *(options.only or (BY_ALL if options.all or options.smoke else BY_DEFAULT))}
    wanted = sweeps(sizes)
    run_all([sweep for sweep in wanted if sweep.part in parts], artifacts, sizes, options.jobs)

    from experiments.efficiency import findings, plots
    from experiments.lqs.findings import put_tables

    cells, seconds = made(wanted, artifacts)
    found = findings.collect(cells, sizes.budgets) | {"cpu_seconds": seconds}
    output = artifacts / "results" if options.smoke or options.own_text else HERE
    write_json(output / "results.json", found)
    plots.draw_all(found, output / "figures")
    tables = findings.tables(found)
    if output == HERE:
        put_tables(HERE / "README.md", tables)
    print("\n\n".join(tables.values()))


def sweeps(sizes: Sizes) -> list[Sweep]:
    """All calls of run.py, in their order: the most important ones first."""
    budget, budgets = sizes.budget, sizes.budgets
    main: Swept = {"replicate": MAIN_SEEDS[: sizes.main_seeds]}
    others: Swept = {"replicate": OTHER_SEEDS[: sizes.other_seeds]}
    size: Swept = {"replicate": SIZE_SEEDS[: sizes.other_seeds]}
    folding: Swept = {"replicate": FOLDING_SEEDS[: sizes.other_seeds]}
    trained: dict[str, object] = {"stage": TRAINED, "num_tokens": budget}
    half = trained | {"num_tokens": budgets[0]}
    lqs = trained | {"criterion": "lqs"}
    scored = "[sample_proxy,pretrain_proxy,annotate_proxy,train_scorer,score]"
    rated = "[judge,train_rater,rate]"
    found = [
        Sweep("prepare", "corpus", {"stage": ("[prepare_corpus,prepare_target]",)}),
        Sweep("prepare", "ratings", {"stage": (rated,)}, after=("corpus",)),
        Sweep("prepare", "scores", {"stage": (scored,)}, after=("corpus",)),
        Sweep("main", "uniform", {"num_tokens": budgets, **main}, {"stage": TRAINED, "selection": "uniform"}),
        Sweep("main", "rated", {"selection": ("top_k", "sample_temperature1"), **main}, trained),
        Sweep("main", "lqs", {"selection": ("top_k", "pool"), **main}, lqs),
        Sweep("prepare", "baselines", {"stage": ("[measure_perplexity]", "[weigh_importance]")}, after=("scores",)),
        Sweep(
            "prepare",
            "pds_scores",
            {"stage": ("[rescore_proxy,train_scorer,score]",)},
            {"annotation.denominator": "none"},
            ("scores",),
        ),
        Sweep(
            "prepare",
            "dsir_mean_weights",
            {"stage": ("[weigh_importance]",)},
            {"stages.weigh_importance.per_ngram": "true"},
            ("corpus",),
        ),
        Sweep("others", "plain", {"selection": PLAIN, **others}, trained),
        Sweep("others", "pds", {"selection": ("top_k",), **others}, lqs | {"annotation.denominator": "none"}),
        Sweep(
            "others",
            "dsir_mean",
            {"selection": ("top_k",), **others},
            trained | {"criterion": "dsir", "stages.weigh_importance.per_ngram": "true"},
        ),
        Sweep("others", "half_rated", {"selection": ("top_k",), **others}, half),
        Sweep("others", "half_lqs", {"selection": ("top_k", "pool"), **others}, half | {"criterion": "lqs"}),
    ]
    data: Swept = {"selection": ("uniform", "top_k")}
    folded = lqs | {"ordering": "folding"}
    constant = lqs | PROXY | {"model.name": "constant_rate", "model.schedule.min_lr_rate": 1.0}
    batches = (
        lqs | PROXY | {"model.name": "large_batches", "model.batch_size_sequences": 8, "model.micro_batch_size": 8}
    )
    orders: Swept = {"ordering": ("shuffle", "folding")}
    found += [
        Sweep("folding", "folded", {**data, **folding}, folded),
        Sweep("folding", "constant_rate", {**data, **orders, **folding}, constant),
        Sweep("folding", "large_batches", {**data, **orders, **folding}, batches),
        Sweep("folding", "windows", {**data, **folding}, folded | {"ordering.window": 64}),
    ]
    raters: Swept = {"stages.train_rater.seed": AGAIN}
    rerated = trained | {"stage": f"[train_rater,rate,{TRAINED[1:]}", "selection": "top_k"}
    found.append(Sweep("raters", "raters", {**raters, **others}, rerated))
    for seed in AGAIN:
        again = {f"stages.{stage}.seed": seed for stage in ("sample_proxy", "annotate_proxy", "train_scorer")}
        stages = f"[sample_proxy,annotate_proxy,train_scorer,score,{TRAINED[1:]}"
        fixed = lqs | again | {"stage": stages, "selection": "top_k"}
        found.append(Sweep("raters", f"annotation_{seed}", others, fixed))
    found += [
        Sweep("folds", "folds", {**data, "ordering.num_folds": (1, 2, 8), **folding}, folded),
        Sweep(
            "folds",
            "descending",
            {**data, "ordering.num_folds": (1, 3), **folding},
            folded | {"ordering.descending": "true"},
        ),
    ]
    in_size = trained | MEDIUM
    found += [
        Sweep(
            "sizes",
            "medium_uniform",
            {"num_tokens": budgets, **size},
            {"stage": TRAINED, "selection": "uniform"} | MEDIUM,
        ),
        Sweep("sizes", "medium_rated", {"selection": ("top_k", "sample_temperature1", "prose_only"), **size}, in_size),
        Sweep("sizes", "medium_lqs", {"selection": ("top_k", "pool"), **size}, in_size | {"criterion": "lqs"}),
        Sweep("sizes", "medium_dsir", {"selection": ("dsir",), **size}, in_size),
    ]
    return found


def run_all(wanted: Sequence[Sweep], artifacts: Path, sizes: Sizes, jobs: int) -> None:
    """Run commands in parallel, each after those that it needs; models need all of `prepare`."""
    futures: dict[str, concurrent.futures.Future[None]] = {}
    prepared = tuple(sweep.name for sweep in wanted if sweep.part == "prepare")

    def do(sweep: Sweep) -> None:
        for name in sweep.after if sweep.part == "prepare" else prepared:
            futures[name].result()
        run(sweep, artifacts, sizes)

    # a command comes after those that it needs, so that none waits for one that has not begun
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for sweep in sorted(wanted, key=lambda sweep: sweep.part != "prepare"):
            futures[sweep.name] = pool.submit(do, sweep)
        for future in futures.values():
            future.result()


def run(sweep: Sweep, artifacts: Path, sizes: Sizes) -> None:
    """Run the cells of one command, unless they are complete.

    Raises:
        SystemExit: it failed; names its log.
    """
    given = ["-m", "--config-dir", "experiments/efficiency/conf", f"+experiment={sizes.experiment}"]
    given += [f"paths.artifacts={artifacts}", *sizes.overrides, *sweep.overrides()]
    done = _record(sweep, artifacts)
    if done.is_file() and read_json(done)["arguments"] == given:
        return
    print(f"python run.py {shlex.join(given)}", flush=True)
    log = artifacts / "logs" / f"{sweep.part}_{sweep.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with open(log, "w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            [sys.executable, "run.py", *given, f"hydra.sweep.dir={_folder(sweep, artifacts)}"],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )
        _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{sweep.name} failed, see {log}:\n{log.read_text(encoding='utf-8')[-2000:]}")
    record = {
        "arguments": given,
        "seconds": round(time.monotonic() - start, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),  # other work may slow the machine down
    }
    write_json(done, record)


def made(wanted: Sequence[Sweep], artifacts: Path) -> tuple[list[Cell], dict[str, float]]:
    """The language models of the sweeps that are complete, and the CPU seconds of each part."""
    found, seconds = [], dict.fromkeys(BY_ALL, 0.0)
    for sweep in wanted:
        if _record(sweep, artifacts).is_file():
            found += list(_cells(sweep, artifacts))
            seconds[sweep.part] += read_json(_record(sweep, artifacts))["cpu_seconds"]
    return found, seconds


def _cells(sweep: Sweep, artifacts: Path) -> Iterator[Cell]:
    from omegaconf import OmegaConf

    if "replicate" not in sweep.swept:
        return
    for file in sorted(_folder(sweep, artifacts).glob("*/artifacts.json")):
        given = dict(str(line).split("=", 1) for line in OmegaConf.load(file.parent / ".hydra" / "overrides.yaml"))
        choice = [given[key] for key in sweep.swept if key != "replicate"]
        folders = {stage: artifacts / name for stage, name in read_json(file).items() if name}
        yield Cell(":".join([sweep.name, *choice]), int(given["replicate"]), folders)


def _folder(sweep: Sweep, artifacts: Path) -> Path:
    return artifacts / "hydra" / f"{sweep.part}_{sweep.name}"


def _record(sweep: Sweep, artifacts: Path) -> Path:
    return artifacts / "done" / f"{sweep.part}_{sweep.name}.json"


if __name__ == "__main__":
    main()
