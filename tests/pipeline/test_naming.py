"""Names of artifacts: those of the released models, and what a sweep appends and shares."""

import functools
import json
from pathlib import Path

import pytest
from hydra import compose
from hydra.errors import HydraException

from qurating.pipeline import naming
from qurating.pipeline.naming import STAGES, name_artifacts

pytestmark = pytest.mark.usefixtures("conf")

SAMPLED = "select_120K_tokens_by-educational_value-sample_with_temperature2.0-across_domains"
TOP_K = "select_120K_tokens_by-educational_value-top_k-across_domains"


@functools.cache
def unchanged() -> dict[str, str]:
    return name_artifacts([])


def changed(*overrides: str) -> dict[str, str]:
    """The names that differ from those without overrides."""
    plain, names = unchanged(), name_artifacts(list(overrides))
    return {stage: names[stage] for stage in STAGES if names[stage] != plain[stage]}


def test_plain_names() -> None:
    assert name_artifacts(["selection=sample"]) == {
        "prepare_corpus": "corpora/embedded",
        "judge": "judgments/simulated",
        "import_judgments": None,
        "train_rater": "models/rater-tiny-by-simulated",
        "rate": "ratings/rater-tiny-by-simulated",
        "import_ratings": None,
        "pretrain_proxy": "models/proxy-tiny",
        "prepare_target": "targets/heldout-stdlib_docstrings",
        "sample_proxy": "proxies/1024_sequences",
        "annotate_proxy": "annotations/tiny-towards-heldout-stdlib_docstrings",
        "rescore_proxy": None,
        "train_scorer": "models/scorer-tiny-of-tiny-towards-heldout-stdlib_docstrings",
        "score": "scores/scorer-tiny-of-tiny-towards-heldout-stdlib_docstrings",
        "measure_perplexity": "ratings/perplexity-by-proxy-tiny",
        "weigh_importance": "ratings/dsir-towards-heldout-stdlib_docstrings",
        "select": f"subsets/{SAMPLED}",
        "check_subset": f"subsets/{SAMPLED}-checked",
        "report_subset": f"reports/{SAMPLED}",
        "analyse_ratings": "analyses/rater-tiny-by-simulated",
        "order": f"orders/{SAMPLED}",
        "train_lm": f"models/lm-tiny-{SAMPLED}",
        "evaluate": f"evaluations/lm-tiny-{SAMPLED}",
        "evaluate_tasks": (f"task_results/lm-tiny-{SAMPLED}-offline"),
        "analyse": None,
        "order_lines": "lines/lines",
    }


def test_cells_that_share_what_they_have_in_common_get_the_same_names() -> None:
    """Also where the first overrides of one cell are all of another's, or compose only together."""
    cells = [
        ["selection=top_k", "criterion=writing_style", "seed=1", "model.optimizer.lr=0.1"],
        ["selection=top_k", "criterion=writing_style", "seed=1"],
        ["selection=sample", "criterion=writing_style", "seed=1", "selection.temperature=3"],
        ["judge=released", "judge.paths=x.parquet", "seed=1"],
        ["selection=top_k", "artifacts.select=subsets/mine", "seed=1"],
        ["selection=top_k", "criterion=writing_style", "seed=2", "model.name=mine", "model.optimizer.lr=0.1"],
    ]
    memory: dict[object, bytes] = {}
    shared = [name_artifacts(cell, memory) for cell in cells]
    assert shared == [name_artifacts(cell) for cell in cells]
    assert name_artifacts(cells[0], memory) == shared[0]


def test_the_papers_scale_gives_the_released_names() -> None:
    names = name_artifacts(["scale=paper", "selection=sample"])
    assert names["select"] == "subsets/select_30B_tokens_by-educational_value-sample_with_temperature2.0"
    assert names["train_lm"] == "models/lm-1.3B-select_30B_tokens_by-educational_value-sample_with_temperature2.0"
    assert names["prepare_corpus"] == "corpora/slimpajama"


@pytest.mark.parametrize(
    ("overrides", "expected"), json.loads(Path(__file__).with_name("names.json").read_text(encoding="utf-8"))
)
def test_names_stay_what_they_were(overrides: list[str], expected: dict[str, str]) -> None:
    """Other names would mean other artifacts: everything would be built again."""
    assert changed(*overrides) == expected


def test_a_value_may_make_a_stage_depend_on_another_setting() -> None:
    found = changed("seed='${trainer.devices}'", "trainer.devices=4", "selection=top_k")
    assert found["select"].endswith("top_k-across_domains,devices=4,seed=__trainer.devices_")
    assert changed("seed=1", "trainer.devices=4")["select"].endswith("uniform-across_domains,seed=1")


def test_an_override_is_appended_where_it_changes_something_unsaid() -> None:
    found = changed("model.optimizer.lr=0.001", "selection=top_k")
    assert found["train_lm"] == f"models/lm-tiny-{TOP_K},lr=0.001"
    assert found["evaluate"] == f"evaluations/lm-tiny-{TOP_K},lr=0.001"
    assert found["select"] == f"subsets/{TOP_K}"
    # the proxy model of LQS has the language model's shape and training
    scores = {"pretrain_proxy", "annotate_proxy", "train_scorer", "score", "measure_perplexity"}
    assert set(found) - scores == {
        "select",
        "check_subset",
        "report_subset",
        "analyse_ratings",
        "order",
        "train_lm",
        "evaluate",
        "evaluate_tasks",
    }


def test_what_the_name_says_already_is_not_appended() -> None:
    found = changed("selection=sample", "selection.temperature=0.5", "num_tokens=1000", "criterion=writing_style")
    assert found["select"] == "subsets/select_1K_tokens_by-writing_style-sample_with_temperature0.5-across_domains"


def test_a_change_reaches_all_later_stages_and_no_others() -> None:
    found = changed("judge.num_pairs=10")
    assert found == {
        "judge": "judgments/simulated,num_pairs=10",
        "train_rater": "models/rater-tiny-by-simulated,judge.num_pairs=10",
        "rate": "ratings/rater-tiny-by-simulated,judge.num_pairs=10",
        "analyse_ratings": "analyses/rater-tiny-by-simulated,judge.num_pairs=10",
    }  # a uniform selection reads no ratings
    found = changed("judge.num_pairs=10", "selection=top_k")
    assert found["select"] == f"subsets/{TOP_K},judge.num_pairs=10"
    assert found["train_lm"] == f"models/lm-tiny-{TOP_K},judge.num_pairs=10"


def test_settings_of_one_key_are_told_apart() -> None:
    """The same last key in two places is two settings."""
    raters = changed("rater.optimizer.lr=0.1")
    assert raters["train_rater"].endswith("simulated,lr=0.1")
    names = changed("rater.optimizer.lr=0.1", "selection=top_k")
    assert names["train_lm"].endswith("top_k-across_domains,rater.lr=0.1")
    one, other = (changed(f"criteria.{c}.question=Which?")["judge"] for c in ("writing_style", "facts_and_trivia"))
    assert one == "judgments/simulated,writing_style.question=Which_"
    assert one != other


def test_values_beside_a_mandatory_one_are_appended_too() -> None:
    found = changed("corpus=jsonl", "corpus.heldout_fraction=0.3", "corpus.paths=/data/wiki.jsonl")
    assert found["prepare_corpus"] == "corpora/wiki,heldout_fraction=0.3"
    judged = changed("judge=endpoint", "judge.method=votes", "judge.model=m", "judge.base_url=http://127.0.0.1:1")
    assert judged["judge"] == "judgments/m,method=votes"


def test_what_is_named_by_hand_still_tells_corpora_apart() -> None:
    judge = ["judge=endpoint", "judge.name=ok", "judge.model=m", "judge.base_url=http://127.0.0.1:1", "corpus=jsonl"]
    one, other = (changed(*judge, f"corpus.paths=/data/{name}.jsonl")["judge"] for name in ("alpha", "beta"))
    assert (one, other) == ("judgments/ok,corpus=alpha", "judgments/ok,corpus=beta")


def test_names_do_not_depend_on_the_order_of_overrides() -> None:
    overrides = ["seed=3", "selection=top_k", "model.optimizer.lr=0.1", "judge.num_pairs=7"]
    assert name_artifacts(overrides) == name_artifacts(overrides[::-1])


def test_a_group_with_a_name_is_appended_by_its_name() -> None:
    found = changed("corpus=jsonl", "corpus.paths=/data/my wiki.jsonl.zst", "selection=top_k")
    assert found["prepare_corpus"] == "corpora/my_wiki"
    assert found["select"] == f"subsets/{TOP_K},corpus=my_wiki"
    named = changed("corpus=jsonl", "corpus.paths=/data/x.jsonl", "corpus.name=mine", "corpus.sequence_length=64")
    assert named["prepare_corpus"] == "corpora/mine"
    assert named["select"] == "subsets/select_120K_tokens_uniform-across_domains,corpus=mine"


def test_a_name_set_by_hand_is_kept_and_inherited() -> None:
    found = changed("artifacts.judge=judgments/mine", "judge.num_pairs=10", "judge.noise=2")
    assert found["judge"] == "judgments/mine"
    assert "train_rater" not in found or "num_pairs" not in found["train_rater"]


def test_settings_that_change_no_result_change_no_name() -> None:
    runtime = ["num_workers=7", "judge.max_concurrency=2", "trainer.devices=4", "logger=wandb", "overwrite=true"]
    assert changed(*runtime, "model.micro_batch_size=2", "stage=[select]", "hydra/launcher=local") == {}


def test_seed_marks_every_name() -> None:
    found = changed("seed=5")
    without = {
        "import_judgments",
        "import_ratings",
        "rescore_proxy",
        "analyse",
    }  # which need no seed, or are not needed
    assert set(found) == {*STAGES} - without
    assert found["train_lm"] == "models/lm-tiny-select_120K_tokens_uniform-across_domains,seed=5"


def test_a_replicate_shares_everything_before_the_selection() -> None:
    assert changed("replicate=0") == {}
    found = changed("replicate=1")
    after = {
        "select",
        "check_subset",
        "report_subset",
        "order",
        "train_lm",
        "evaluate",
        "evaluate_tasks",
    }
    assert set(found) == after | {"order_lines"}
    assert found["evaluate"] == "evaluations/lm-tiny-select_120K_tokens_uniform-across_domains,replicate=1"
    lqs = name_artifacts([LQS, "selection=top_k", "ordering=folding", "replicate=2"])
    shared = name_artifacts([LQS, "selection=top_k", "ordering=folding"])
    assert {stage for stage in STAGES if lqs[stage] != shared[stage]} == after | {"order_lines"}
    by_hand = changed("subset=subsets/mine", "replicate=1")
    assert by_hand["order"] == "orders/mine,replicate=1"


def test_the_seeds_of_a_replicate_move_together_and_apart_from_the_seed() -> None:
    def seeds(*overrides: str) -> dict[str, int]:
        every = compose("config", [f"stage=[{','.join(STAGES)}]", "stages.order_lines.paths=x", *overrides])
        return {str(stage): given.seed for stage, given in every.stages.items() if "seed" in given}

    plain, moved = seeds(), seeds("replicate=1")
    assert set(plain.values()) == {0}  # so artifacts without a replicate stay what they are
    after = {"select", "order", "order_lines", "train_lm"}
    assert {stage for stage in plain if moved[stage] != 0} == after
    assert len({moved[stage] for stage in after}) == 1
    assert {seeds("replicate=1", "seed=1")["select"], seeds("seed=1")["select"], moved["select"], 0} == {
        seeds(f"seed={seed}", f"replicate={r}")["order"] for seed in (0, 1) for r in (0, 1)
    }
    assert seeds("replicate=1", "stages.train_lm.seed=4")["train_lm"] == 4


def test_names_stay_short_enough_for_a_file_system() -> None:
    overrides = [f"+trainer.setting_number_{i}={'x' * 90}" for i in range(3)]
    names = name_artifacts(overrides)
    assert len(names["train_lm"].encode()) <= 200
    assert names["train_lm"] != name_artifacts([*overrides[:-1], overrides[-1] + "y"])["train_lm"]


LQS = "+experiment=lqs_scorer"


def test_cells_of_delts_comparison_share_their_scores() -> None:
    cells = [
        name_artifacts([LQS, f"selection={selection}", f"ordering={ordering}"])
        for selection in ("uniform", "top_k")
        for ordering in ("shuffle", "folding")
    ]
    for stage in STAGES[: STAGES.index("select")]:
        assert len({cell[stage] for cell in cells}) == 1, stage
    assert len({cell["select"] for cell in cells}) == 2
    for stage in ("order", "train_lm", "evaluate"):
        assert len({cell[stage] for cell in cells}) == 4, stage
    subset = "select_400K_tokens_by-lqs-top_k-across_domains-folded3_by-lqs"
    assert cells[-1]["evaluate"] == f"evaluations/lm-tiny-{subset}-without_heldout-stdlib_docstrings"


def test_other_scores_go_down_to_what_is_selected_by_them() -> None:
    plain = name_artifacts([LQS, "selection=top_k"])
    found = name_artifacts([LQS, "selection=top_k", "annotation.denominator=none"])
    assert plain["rescore_proxy"] is None
    assert found["annotate_proxy"] == plain["annotate_proxy"]  # its gradients serve both
    assert found["rescore_proxy"] == f"{plain['annotate_proxy']}-denominator_none"
    assert found["train_scorer"] == f"{plain['train_scorer']}-denominator_none"
    assert found["score"] == f"{plain['score']}-denominator_none"
    assert found["select"] == f"{plain['select']},annotation.denominator=none"
    other = name_artifacts([LQS, "selection=top_k", "annotation.denominator=next_step"])  # takes more gradients
    assert other["annotate_proxy"] == f"{plain['annotate_proxy']},denominator=next_step"
    assert other["rescore_proxy"] is None
    same = {stage for stage in STAGES if found[stage] == plain[stage]} - {"analyse"}
    judged = {"judge", "import_judgments", "train_rater", "rate", "import_ratings"}
    baselines = {"measure_perplexity", "weigh_importance"}
    annotated = {"prepare_corpus", "pretrain_proxy", "prepare_target", "sample_proxy", "annotate_proxy"}
    assert same == annotated | {"order_lines"} | judged | baselines
    # by which a uniform cell is told apart only if it is ordered by them
    for ordering, differ in (("shuffle", False), ("folding", True)):
        denominators = ("none", "same_step")
        one, other = (
            name_artifacts([LQS, f"ordering={ordering}", f"annotation.denominator={d}"])["order"] for d in denominators
        )
        assert (one != other) == differ


def test_scores_of_different_targets_are_left_out_together() -> None:
    own, other = "heldout-stdlib_docstrings", "heldout-package_readmes"
    baselines = ["+experiment=baselines", "selection=dsir"]
    plain = name_artifacts(baselines)
    found = name_artifacts([*baselines, f"importance_target=targets/{other}"])
    assert found["prepare_target"] == plain["prepare_target"] == f"targets/{own}"  # of LQS
    assert found["weigh_importance"] == f"ratings/dsir-towards-{other}"
    assert (
        found["select"] == f"subsets/select_120K_tokens_dsir-towards-{other}-sample_with_temperature1.0-across_domains"
    )
    assert found["evaluate"].endswith(f"-without_{other}+{own}")
    # in whichever order they are given, and given twice
    given = f"evaluation_without=[targets/{own},null,targets/{other},targets/{own}]"
    uniform = name_artifacts(["+experiment=baselines", "selection=uniform", given])
    assert uniform["evaluate"].endswith(f"_uniform-across_domains-without_{other}+{own}")
    assert name_artifacts([*baselines, f"evaluation_without=[targets/{own}]"])["evaluate"] == plain["evaluate"]


def test_an_existing_scorer_needs_no_annotation() -> None:
    found = name_artifacts([LQS, "scorer.from_pretrained=/data/my scorer/", "selection=top_k"])
    made = {stage for stage in STAGES if found[stage] is None} - {"import_judgments", "import_ratings", "analyse"}
    assert made == {"pretrain_proxy", "sample_proxy", "annotate_proxy", "rescore_proxy", "train_scorer"}
    pds = name_artifacts([LQS, "scorer.from_pretrained=/data/my scorer/", "annotation.denominator=none"])
    assert pds["rescore_proxy"] is None
    assert found["score"] == "scores/by-my_scorer"
    assert found["select"].startswith("subsets/select_400K_tokens_by-lqs-top_k-across_domains,scorer.from_pretrained=")
    # the target set is of held-out documents, and the evaluation leaves them out; conversations are not among them
    assert found["evaluate"].endswith("-without_heldout-stdlib_docstrings")
    other = name_artifacts([LQS, "scorer.from_pretrained=lab/scorer", "target=lima"])
    assert other["prepare_target"] is None
    assert "without" not in other["evaluate"]
    assert name_artifacts([LQS, "annotation.model=models/mine"])["pretrain_proxy"] is None


def test_an_override_that_does_not_compose_is_an_error() -> None:
    with pytest.raises(HydraException):
        name_artifacts(["selection=nonsense"])


def test_an_existing_rater_needs_no_judge() -> None:
    found = name_artifacts(["rater.from_pretrained=lab/QuRater-1.3B", "selection=top_k"])
    needless = {"judge", "import_judgments", "train_rater", "import_ratings", "rescore_proxy"}
    assert {stage for stage in STAGES if found[stage] is None} == needless | {"analyse"}
    assert found["rate"] == "ratings/by-QuRater-1.3B"
    assert found["select"].endswith("top_k-across_domains,rater.from_pretrained=lab_QuRater-1.3B")


def test_a_model_that_continues_another_is_named_after_it() -> None:
    found = name_artifacts(["model.from_pretrained=lab/small", "selection=top_k"])
    assert found["train_lm"] == f"models/lm-tiny-from-small-{TOP_K}"
    assert found["evaluate"] == f"evaluations/lm-tiny-from-small-{TOP_K}"
    alone = name_artifacts(["selection=top_k"])
    assert {stage for stage in STAGES if found[stage] != alone[stage]} == {"train_lm", "evaluate", "evaluate_tasks"}
    # how a network that is not made looks is no part of the model; whose weights it had is
    assert (
        name_artifacts(["model.from_pretrained=lab/small", "model.network.hidden_size=96"])["train_lm"]
        == (name_artifacts(["model.from_pretrained=lab/small"])["train_lm"])
    )
    other = name_artifacts(["model.from_pretrained=other/small", "selection=top_k"])
    assert other["train_lm"] == found["train_lm"]  # the fingerprint of what is there tells them apart
    assert name_artifacts(["model.network.hidden_size=96"])["train_lm"].endswith(
        "_uniform-across_domains,hidden_size=96"
    )


def test_how_many_share_the_work_is_no_part_of_a_name() -> None:
    shared = ["stages.rate.shard=3", "stages.rate.num_shards=8", "stages.rate.compilation=never", "selection=top_k"]
    assert name_artifacts(shared) == name_artifacts(["selection=top_k"])
    assert name_artifacts(["stages.rate.precision=bf16-true"])["rate"].endswith(",rate.precision=bf16-true")


def test_a_name_that_is_too_long_is_cut_between_tags_and_keeps_what_tells_cells_apart() -> None:
    base = "annotations/tiny-towards-mine" + "".join(f",corpus.setting_{n}={n}0000" for n in range(10))
    tags = {"corpus.domain_field": "topic", "denominator": "none", "annotation.num_proxy_sequences": "256"}
    name = naming._tagged(base, tags)
    assert len(name.encode()) <= 200
    start, *kept = name.split(",")
    assert start == "annotations/tiny-towards-mine"
    assert "denominator=none" in kept
    assert kept[-1].startswith("etc=")
    # nothing is cut within: half of a number would be another number
    assert set(kept[:-1]) <= set(base.split(",")) | {f"{key}={value}" for key, value in tags.items()}
    assert name != naming._tagged(base, tags | {"corpus.domain_field": "subject"})


def test_a_name_that_needs_a_value_is_no_reason_for_a_tag() -> None:
    names = name_artifacts(["ordering=column", "ordering.column=length", "scale=smoke", "selection=top_k"])
    assert (
        names["order"] == "orders/select_30K_tokens_by-educational_value-top_k-across_domains-sorting_by_column-length"
    )
    judge = ["judge=endpoint", "judge.base_url=http://localhost:1/v1", "judge.model=m", "judge.name=m"]
    assert name_artifacts([*judge, "scale=smoke"])["train_rater"] == "models/rater-smoke-by-m"
