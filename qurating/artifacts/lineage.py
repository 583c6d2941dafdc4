"""The one table of stages: their order, what each reads and writes, and whether tasks can share its work."""

from typing import NamedTuple


class Stage(NamedTuple):
    """A stage, configured in `conf/stage/<name>.yaml` and implemented under `qurating/stages/`.

    `kind`: the folder of its artifacts. `reads`: the stages whose artifacts it can read. `is_shareable`: the tasks of a
    sweep over its `shard`, and the processes of a distributed run, can each do a part.
    """

    name: str
    kind: str
    reads: tuple[str, ...] = ()
    is_shareable: bool = False


_WRITE_RATINGS = (
    "rate",
    "import_ratings",
    "score",
    "measure_perplexity",
    "weigh_importance",
)  # or scores, which selections and orderings read
# In the order in which they run: a stage reads artifacts of the stages above it. The target and proxy sets come before
# the proxy model: they are quick to make, and a mistake in their settings shows before anything is trained.
TABLE = (
    Stage("prepare_corpus", "corpora"),
    Stage("judge", "judgments", ("prepare_corpus", "judge")),
    Stage("import_judgments", "judgments"),
    Stage("train_rater", "models", ("prepare_corpus", "judge", "import_judgments")),
    Stage("rate", "ratings", ("prepare_corpus", "train_rater"), is_shareable=True),
    Stage("import_ratings", "ratings", ("prepare_corpus",)),
    Stage("prepare_target", "targets", ("prepare_corpus",)),
    Stage("sample_proxy", "proxies", ("prepare_corpus",)),
    Stage("pretrain_proxy", "models", ("prepare_corpus",)),
    Stage("annotate_proxy", "annotations", ("prepare_corpus", "sample_proxy", "prepare_target", "pretrain_proxy")),
    Stage("rescore_proxy", "annotations", ("annotate_proxy",)),
    Stage("train_scorer", "models", ("prepare_corpus", "annotate_proxy", "rescore_proxy")),
    Stage("score", "scores", ("prepare_corpus", "train_scorer"), is_shareable=True),
    Stage("measure_perplexity", "ratings", ("prepare_corpus", "pretrain_proxy"), is_shareable=True),
    Stage("weigh_importance", "ratings", ("prepare_corpus", "prepare_target"), is_shareable=True),
    Stage("select", "subsets", ("prepare_corpus", *_WRITE_RATINGS)),
    Stage("check_subset", "subsets", ("prepare_corpus", "select")),
    Stage("report_subset", "reports", ("prepare_corpus", *_WRITE_RATINGS, "select", "check_subset")),
    Stage("order", "orders", ("prepare_corpus", *_WRITE_RATINGS, "select", "check_subset")),
    Stage("train_lm", "models", ("prepare_corpus", "order")),
    Stage("evaluate", "evaluations", ("prepare_corpus", "prepare_target", "train_lm")),
    Stage("evaluate_tasks", "task_results", ("train_lm",)),
    Stage(
        "analyse_ratings",
        "analyses",
        (
            "prepare_corpus",
            "judge",
            "import_judgments",
            "train_rater",
            *_WRITE_RATINGS,
            "annotate_proxy",
            "rescore_proxy",
            "train_scorer",
            "select",
            "check_subset",
            "evaluate",
        ),
    ),
    Stage("analyse", "analyses"),  # reads every artifact of every cell
    Stage("order_lines", "lines"),  # reads files, and no artifact
)
STAGES = tuple(stage.name for stage in TABLE)

CORPUS = "prepare_corpus"
COMPARISON = "analyse"  # runs once, at the end of a sweep
CELL_STAGES = tuple(name for name in STAGES if name != COMPARISON)
LAST_CELL_STAGE = "evaluate"
OF_CORPUS = "analyse_ratings"  # about all that was made of a corpus, and so of no one cell
RATING_STAGES = ("rate", "import_ratings", "score")  # their artifacts are shown as ratings in the report
REPLICATED = ("select", "order", "train_lm")  # a replicate of a cell draws these again, and shares what comes before
SHAREABLE = frozenset(stage.name for stage in TABLE if stage.is_shareable)


def depends_on_selection(name: str) -> bool:
    """Whether a stage comes at or after the selection, from where the cells of a sweep differ."""
    return STAGES.index(name) >= STAGES.index("select")
