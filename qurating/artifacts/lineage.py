"""The one table of stages: their order, what each reads and writes, and whether its work can be shared among tasks."""

from typing import NamedTuple


class Stage(NamedTuple):
    """A stage, as `conf/stage/<name>.yaml` and `qurating/stages/` have it.

    `reads`: stages whose artifacts it may be given. `kind`: the folder of its artifacts. `is_shared`: the tasks of a
    sweep over its `shard`, and the processes of a distributed run, may each do a part.
    """

    name: str
    kind: str
    reads: tuple[str, ...] = ()
    is_shared: bool = False


# In the order in which they run: a stage reads what stands above it. The target and proxy sets come before the proxy
# model: they are quickly made, and a mistake in their settings is told before anything is trained.
TABLE = (
    Stage("prepare_corpus", "corpora"),
    Stage("judge", "judgments", ("prepare_corpus", "judge")),
    Stage("import_judgments", "judgments"),
    Stage("train_rater", "models", ("prepare_corpus", "judge", "import_judgments")),
    Stage("rate", "ratings", ("prepare_corpus", "train_rater"), is_shared=True),
    Stage("prepare_target", "targets", ("prepare_corpus",)),
    Stage("sample_proxy", "proxies", ("prepare_corpus",)),
    Stage("pretrain_proxy", "models", ("prepare_corpus",)),
    Stage("annotate_proxy", "annotations", ("prepare_corpus", "sample_proxy", "prepare_target", "pretrain_proxy")),
    Stage("train_scorer", "models", ("prepare_corpus", "annotate_proxy")),
    Stage("score", "scores", ("prepare_corpus", "train_scorer"), is_shared=True),
    Stage("measure_perplexity", "ratings", ("prepare_corpus", "pretrain_proxy"), is_shared=True),
    Stage("weigh_importance", "ratings", ("prepare_corpus", "prepare_target"), is_shared=True),
    Stage("select", "subsets", ("prepare_corpus", "rate", "score", "measure_perplexity", "weigh_importance")),
    Stage("check_subset", "subsets", ("prepare_corpus", "select")),
    Stage(
        "report_subset",
        "reports",
        (
            *("prepare_corpus", "rate", "score", "measure_perplexity", "weigh_importance"),
            *("select", "check_subset"),
        ),
    ),
    Stage(
        "order",
        "orders",
        (
            *("prepare_corpus", "rate", "score", "measure_perplexity", "weigh_importance"),
            *("select", "check_subset"),
        ),
    ),
    Stage("train_lm", "models", ("prepare_corpus", "order")),
    Stage("evaluate", "evaluations", ("prepare_corpus", "prepare_target", "train_lm")),
    Stage("analyse", "analyses"),  # every artifact of every cell
    Stage("order_lines", "lines"),  # files, by itself
)
STAGES = tuple(stage.name for stage in TABLE)

CORPUS = "prepare_corpus"
COMPARISON = "analyse"  # runs once, at the end of a sweep
OF_A_CELL = tuple(name for name in STAGES if name != COMPARISON)
LAST_OF_A_CELL = "evaluate"
RATING = ("rate", "score")  # their artifacts are what a page shows as ratings
SHARED = frozenset(stage.name for stage in TABLE if stage.is_shared)


def is_of_a_model(name: str) -> bool:
    """Whether a stage comes after the corpus is rated: from the selection on, cells differ."""
    return STAGES.index(name) >= STAGES.index("select")
