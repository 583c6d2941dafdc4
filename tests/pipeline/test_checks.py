"""Every YAML file against the signature of its function, and every check of a config."""

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose
from omegaconf import OmegaConf
from repository import ROOT

from qurating.pipeline import checks, sources
from qurating.pipeline.naming import STAGES, name_artifacts
from qurating.runtime.errors import StageError

OTHERS = {"hydra", "prompts", "method", "scored_by"}  # the last two choose among the others' choices
GROUPS = sorted(p.name for p in (ROOT / "conf").iterdir() if p.is_dir() and p.name not in OTHERS)
CHOICES = [
    (group, file.stem)
    for group in GROUPS
    if group != "experiment"
    for file in sorted((ROOT / "conf" / group).glob("*"))
]
REQUIRED = {
    "judge=endpoint": ["judge.model=m", "judge.base_url=http://127.0.0.1:1/v1"],
    "judge=azure": ["judge.model=m", "judge.base_url=http://127.0.0.1:1"],
    "judge=local": ["judge.gguf=model.gguf"],
    "corpus=jsonl": ["corpus.paths=x.jsonl"],
    "corpus=parquet": ["corpus.paths=x.parquet"],
    "corpus=hub": ["corpus.dataset=a/b"],
    "corpus=tokens": ["corpus.paths=x.parquet", "corpus.tokenizer=a/b"],
    "corpus=quratedpajama": ["corpus.paths=x.parquet"],
    "criterion=own": ["ratings=x.parquet"],
    "target=jsonl": ["target.paths=x.jsonl"],
    "target=training_domain": ["target.domain=licences"],
    "ordering=column": ["ordering.column=length"],
    "perplexity=pretrained": ["perplexity.from_pretrained=a/b"],
    "perplexity=kenlm": ["perplexity.kenlm=x.arpa"],
    "stage=[order_lines]": ["stages.order_lines.paths=x.jsonl"],
}


def targets(node: Any) -> list[dict[str, Any]]:
    """Every mapping with a `_target_` in a resolved config."""
    found = []
    if isinstance(node, dict):
        found += [node] if "_target_" in node else []
        found += [target for value in node.values() for target in targets(value)]
    return found


@pytest.mark.parametrize(("group", "choice"), CHOICES)
@pytest.mark.usefixtures("conf")
def test_every_choice_feeds_signatures_that_exist(group: str, choice: str) -> None:
    override = f"stage=[{choice}]" if group == "stage" else f"{group}={choice}"
    config = compose("config", [override, *REQUIRED.get(override, [])])
    checks.check(config, dict.fromkeys(STAGES, ""))
    resolved = OmegaConf.to_container(config, resolve=True)
    assert isinstance(resolved, dict)
    for target in targets({key: value for key, value in resolved.items() if key != "hydra"}):
        module, name = target["_target_"].rsplit(".", 1)
        function = getattr(importlib.import_module(module), name)
        parameters = inspect.signature(function).parameters
        given = {key for key in target if not key.startswith("_")} - {"inputs", "fetches", "runtime"}
        if "inputs" in target:
            given |= target["inputs"].keys() | {"output"}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            assert given <= parameters.keys(), target["_target_"]
        if not target.get("_partial_"):
            needed = {n for n, p in parameters.items() if p.default is p.empty and p.kind is not p.VAR_KEYWORD}
            assert needed <= given, target["_target_"]


@pytest.mark.parametrize("file", sorted((ROOT / "conf" / "experiment").glob("*.yaml")), ids=lambda file: file.stem)
@pytest.mark.usefixtures("conf")
def test_every_experiment_says_how_it_runs_and_composes(file: Path) -> None:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert {"mode", "sweeper"} <= content["hydra"].keys()
    config = compose("config", [f"+experiment={file.stem}"])
    checks.check(config, name_artifacts([f"+experiment={file.stem}"]))
    # a choice or a value on the command line beats the experiment's
    beaten = compose("config", [f"+experiment={file.stem}", "selection=top_r", "selection.fraction=0.7"])
    assert beaten.selection.fraction == 0.7


@pytest.mark.usefixtures("conf")
def test_the_papers_scale_is_the_papers() -> None:
    config = compose("config", ["scale=paper", "selection=sample"])
    OmegaConf.resolve(config)
    judge, rater, model = config.judge, config.rater, config.model
    assert (judge.num_pairs, judge.num_votes, judge.temperature) == (250_000, 20, 1.0)
    assert judge.max_snippet_tokens == 512
    assert rater.network.name_or_path == "princeton-nlp/Sheared-LLaMA-1.3B"
    assert (rater.batch_size_pairs, rater.num_epochs, rater.warmup_fraction) == (512, 2, 0.1)
    assert (rater.optimizer.lr, rater.optimizer.weight_decay, rater.validation_fraction) == (5e-5, 0.1, 0.1)
    assert (rater.minimum_confidence, rater.max_tokens) == (0.5, 512)
    assert config.corpus.sequence_length == 1024
    assert config.corpus.reader.dataset == "cerebras/SlimPajama-627B"
    assert config.selection.num_tokens == 30_000_000_000
    assert config.selection.by_domain
    network = model.network
    assert (network.num_hidden_layers, network.hidden_size, network.intermediate_size) == (24, 2048, 5504)
    assert (network.num_attention_heads, model.sequence_length) == (16, 1024)
    assert (model.batch_size_sequences, model.warmup_fraction) == (2048, 0.05)
    assert (model.optimizer.lr, model.schedule.min_lr_rate) == (5e-4, 0.1)
    assert (list(model.optimizer.betas), model.optimizer.weight_decay) == ([0.9, 0.95], 0.1)
    assert (model.gradient_clip_norm, config.trainer.precision) == (1.0, "bf16-mixed")
    assert list(config.criteria) == ["writing_style", "required_expertise", "facts_and_trivia", "educational_value"]


@pytest.mark.usefixtures("conf")
def test_the_papers_scale_of_lqs_is_delts() -> None:
    overrides = ["+experiment=lqs_scorer", "scale=paper", "selection=top_k", "ordering=folding"]
    config = compose("config", overrides)
    names = name_artifacts(overrides)
    checks.check(config, names)
    OmegaConf.resolve(config)
    corpus, annotation, scorer, model = config.corpus, config.annotation, config.scorer, config.model
    assert corpus.reader.dataset == "cerebras/SlimPajama-627B"
    assert list(corpus.reader.keep_domains) == ["RedPajamaCommonCrawl"]
    assert (corpus.tokenizer, corpus.sequence_length) == ("Data-Selection/BSL-160M", 1024)
    assert (annotation.model, annotation.num_proxy_sequences) == ("Data-Selection/BSL-160M", 163_840)
    assert (annotation.num_steps, annotation.learning_rate, annotation.batch_size_sequences) == (100, 0.008, 16)
    assert (annotation.contribution_interval, annotation.denominator) == (10, "next_visited")
    assert annotation.precision == "32-true"
    assert names["pretrain_proxy"] is None
    assert config.target.dataset == "GAIR/lima"
    assert scorer.network.name_or_path == "KoboldAI/fairseq-dense-125M"
    assert (scorer.optimizer.lr, scorer.schedule.min_lr_rate, scorer.num_epochs) == (1e-4, 1e-3, 5)
    assert (scorer.validation_fraction, scorer.clip_standard_deviations) == (0.1, 3)
    assert (config.selection.num_tokens, config.selection.by_domain, config.ordering.num_folds) == (10**9, False, 3)
    assert config.stages.select.inputs.ratings == config.stages.order.inputs.ratings == names["score"]
    network = model.network
    assert (network.hidden_size, network.intermediate_size, network.num_hidden_layers) == (768, 3072, 12)
    assert (network.model_type, network.num_attention_heads, model.sequence_length) == ("mistral", 12, 1024)
    assert (model.optimizer.lr, list(model.optimizer.betas), model.schedule.min_lr_rate) == (6e-4, [0.9, 0.98], 0.1)
    assert (model.warmup_fraction, model.warmup_steps) == (None, 2000)
    num_steps = -(-config.num_tokens // (model.batch_size_sequences * model.sequence_length))
    assert num_steps > model.warmup_steps
    # a choice on the command line beats the experiment's at any scale
    other = compose("config", [*overrides, "corpus=fineweb", "model=tiny", "num_tokens=5"])
    assert (other.corpus.name, other.model.name, other.num_tokens) == ("fineweb", "tiny", 5)


@pytest.mark.usefixtures("conf")
def test_the_rows_of_table_1_are_the_released_ones() -> None:
    """Each file of conf/method is one row, and the experiment has each of them once."""
    criteria = ("writing_style", "required_expertise", "facts_and_trivia", "educational_value")
    ways = ("top_k", "sample_with_temperature1.0", "sample_with_temperature2.0")
    expected = [f"30B_tokens_by-{c}-{inverse}{way}" for c in criteria for inverse in ("", "inverse-") for way in ways]
    expected += ["30B_tokens_uniform", "45B_tokens_uniform", "30B_tokens_mix_of_criteria-sample_with_temperature2.0"]
    for kind in ("Wikipedia", "Book"):
        expected.append(f"30B_tokens_dsir-towards-training-RedPajama{kind}-sample_with_temperature1.0")
    for kind in ("lowest", "highest"):
        expected.append(f"30B_tokens_{kind}_perplexity-by-Sheared-LLaMA-2.7B")
    for direction in ("", "-reversed"):
        expected.append(f"30B_tokens_uniform-curriculum_by-required_expertise-temperature2.0{direction}")
    assert len(expected) == 33
    rows = sorted(file.stem for file in (ROOT / "conf" / "method").glob("*.yaml"))
    found = {}
    for row in rows:
        config = compose("config", ["+experiment=table_1", f"method={row}", "scale=paper"])
        found[config.artifacts.evaluate] = config
    checks.check(config, dict.fromkeys(STAGES, ""))
    assert sorted(found) == sorted(f"evaluations/lm-1.3B-select_{name}" for name in expected)
    for name, config in found.items():  # nothing runs that a row does not need
        reads_ratings = "by-" in name.replace("perplexity-by-", "") or "mix" in name
        assert ("rate" in config.stages) == ("judge" in config.stages) == reads_ratings, name
        assert ("measure_perplexity" in config.stages) == ("perplexity" in name), name
        assert ("weigh_importance" in config.stages) == ("dsir" in name), name
    swept = compose("config", ["+experiment=table_1"], return_hydra_config=True)
    params = swept.hydra.sweeper.params
    assert sorted(method.strip() for method in params.method.split(",")) == rows
    assert params.keys() == {"method"}


@pytest.mark.usefixtures("conf")
def test_the_cells_of_delts_second_table_share_the_proxy_model_and_its_sets() -> None:
    cells = {}
    for scores, ordering in (("perplexity", "shuffle"), ("pds", "folding"), ("lqs", "folding"), ("lqs", "sorting")):
        overrides = ["+experiment=delt_table_2", f"scored_by={scores}", f"ordering={ordering}"]
        config = compose("config", overrides)
        cells[scores, ordering] = name_artifacts(overrides)
        assert config.annotation.denominator == ("none" if scores == "pds" else "next_visited")
        # the best of each score: the lowest perplexity
        assert (config.selection.fraction, config.selection.inverse) == (0.2, scores == "perplexity")
    for stage in ("prepare_corpus", "prepare_target", "sample_proxy", "pretrain_proxy", "annotate_proxy"):
        assert len({names[stage] for names in cells.values()}) == 1, stage
    pds, lqs, lqs_sorted = cells["pds", "folding"], cells["lqs", "folding"], cells["lqs", "sorting"]
    assert pds["rescore_proxy"] is not None
    assert lqs["rescore_proxy"] is lqs_sorted["rescore_proxy"] is None
    assert pds["score"] != lqs["score"] == lqs_sorted["score"]
    assert pds["select"] != lqs["select"] == lqs_sorted["select"]
    assert len({names["evaluate"] for names in cells.values()}) == 4


@pytest.mark.parametrize(
    ("model", "name", "parameters", "shape", "lr"),
    [
        ("160m", "160M", 162_417_408, (768, 3072, 12, 12), 6e-4),
        ("470m", "470M", 468_239_360, (1024, 4096, 24, 16), 3e-4),
        ("1b", "1B", 1_004_348_928, (1536, 6144, 24, 16), 2.5e-4),
        ("1.3b", "1.3B", 1_345_423_360, (2048, 5504, 24, 16), 5e-4),
    ],
)
@pytest.mark.usefixtures("conf")
def test_the_papers_language_models_have_their_sizes_and_their_optimisation(
    model: str, name: str, parameters: int, shape: tuple[int, ...], lr: float
) -> None:
    import torch

    from qurating.models import networks

    preset: Any = OmegaConf.to_container(compose("config", [f"model={model}"]).model, resolve=True)
    settings = {key: value for key, value in preset["network"].items() if not key.startswith("_")}
    keys = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    assert tuple(settings[key] for key in keys) == shape
    with torch.device("meta"):
        network = networks.language_model(**settings, vocabulary_size=32_000, eos_token_id=2)
    assert (preset["name"], network.num_parameters()) == (name, parameters)
    said = float(name[:-1]) * (1e9 if name.endswith("B") else 1e6)
    assert parameters == pytest.approx(said, rel=0.04)  # what the papers call it
    is_delts = model != "1.3b"
    assert network.config.model_type == ("mistral" if is_delts else "llama")
    optimizer, schedule = preset["optimizer"], preset["schedule"]
    assert (optimizer["_target_"], optimizer["lr"]) == ("torch.optim.AdamW", lr)
    assert optimizer["betas"] == ([0.9, 0.98] if is_delts else [0.9, 0.95])
    assert (schedule["min_lr_rate"], preset["sequence_length"]) == (0.1, 1024)
    assert (preset["warmup_steps"], preset["warmup_fraction"]) == ((2000, None) if is_delts else (None, 0.05))


@pytest.mark.usefixtures("conf")
def test_lqs_is_selected_by_and_not_judged() -> None:
    config = compose("config", ["criterion=lqs", "selection=top_k", "ordering=folding"])
    assert "lqs" not in config.criteria
    assert config.stages.select.inputs.ratings == config.stages.order.inputs.ratings == config.artifacts.score
    judged = compose("config", ["selection=top_k", "ordering=folding"])
    assert judged.stages.select.inputs.ratings == judged.stages.order.inputs.ratings == judged.artifacts.rate


@pytest.mark.usefixtures("conf")
def test_ratings_of_ones_own_take_the_place_of_judge_and_rater() -> None:
    overrides = ["ratings='${corpus.paths}'", "corpus=jsonl", "corpus.paths=[a.jsonl,b.jsonl]", "criterion=own"]
    overrides += ["ordering=folding", "selection=mix"]
    config, names = compose("config", overrides), name_artifacts(overrides)
    checks.check(config, names)
    assert {stage for stage in ("judge", "import_judgments", "train_rater", "rate") if names[stage]} == set()
    assert config.stages.select.inputs.ratings == config.stages.order.inputs.ratings == "ratings/own-a"
    assert config.artifacts.import_ratings == "ratings/own-a"
    assert sources.settings(config, "import_ratings", "files") == {
        "stages.import_ratings.paths": ["a.jsonl", "b.jsonl"],
    }
    plain = compose("config", ["selection=top_k", "ratings=ratings/mine"])
    assert plain.stages.select.inputs.ratings == "ratings/mine"
    assert plain.artifacts.import_ratings is None
    assert plain.artifacts.rate
    several = [compose("config", ["selection=mix", *more]) for more in (["ratings=ratings/mine"], ["criterion=lqs"])]
    assert [each.stages.select.inputs.ratings for each in several] == ["ratings/mine", plain.artifacts.rate]


@pytest.mark.usefixtures("conf")
def test_ratings_that_are_not_given_where_they_belong() -> None:
    names = name_artifacts([])
    for overrides, message in (
        (["criterion=own"], "the criterion score is a column of ratings of your own"),
        (
            ["selection=top_k", "selection.ratings=a.parquet"],
            r"selection\.ratings is the name of an artifact, not a\.p",
        ),
        (["ordering=sorting", "ordering.ratings=./a"], r"ordering\.ratings is the name of an artifact, not \./a"),
    ):
        with pytest.raises(StageError, match=message):
            checks.check(compose("config", overrides), names)


@pytest.mark.usefixtures("conf")
def test_released_judgments_take_the_place_of_a_judge(tmp_path: Path) -> None:
    (tmp_path / "mine.parquet").touch()
    overrides = ["judge=released", f"judge.paths={tmp_path / 'mine.parquet'}"]
    names = name_artifacts(overrides)
    assert names["judge"] is None
    assert str(names["import_judgments"]).startswith("judgments/mine")
    assert str(names["train_rater"]).startswith("models/rater-tiny-by-mine")
    config = compose("config", overrides)
    checks.check(config, names)
    assert config.stages.train_rater.inputs.judgments == config.artifacts.import_judgments
    assert sources.data_sets(config, "import_judgments") == {}
    hub = compose("config", ["judge=released"])
    assert hub.artifacts.import_judgments == "judgments/QuRating-GPT3.5-Judgments"
    data = sources.data_sets(hub, "import_judgments")["judge.dataset"]
    assert data.name == "princeton-nlp/QuRating-GPT3.5-Judgments"
    asked = compose("config")
    assert asked.stages.train_rater.inputs.judgments == asked.artifacts.judge


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+colour=red"], "unknown setting 'colour'; available: "),
        (["+stages.select.temprature=1"], r"stages.select has no setting 'temprature'; available: .*by_domain"),
        (["corpus=jsonl"], r"not set yet: corpus.paths=…"),
        (["replicate=-1"], "replicate is a whole number of at least 0, not -1"),
        (["stage=[]"], "no stage is chosen"),
        (["num_tokens=-5"], "num_tokens is a whole number of at least 1, not -5"),
        (["judge.base_url=http://user:key@127.0.0.1/v1"], "judge.base_url has a user or a key in it"),
        (["+judge.request_options.api_key=abc"], "judge.request_options.api_key looks like a secret"),
        (["+judge.request_options.extra_headers={X-Api-Key: abc}"], "extra_headers.X-Api-Key looks like a secret"),
        (["judge.max_snippet_tokens=4096"], "is more than the rater reads"),
        (["judge=endpoint"], r"not set yet: judge.base_url=…, judge.model=…"),
        (["+artifacts.slect=x"], r"artifacts.slect: unknown stage; available: .*did you mean 'select'"),
        (["~criterion@criteria.writing_style", "criterion=writing_style"], r"add it with \+criterion@criteria.writing"),
        (
            ["+criterion@criteria.lqs=lqs"],
            "no judge can judge lqs, which is computed",
        ),
        (["artifacts.rate=${nothing}/x"], "artifacts.rate: Interpolation key 'nothing' not found"),
    ],
)
@pytest.mark.usefixtures("conf")
def test_a_bad_config_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(StageError, match=message):
        checks.check(compose("config", overrides), dict.fromkeys(STAGES, ""))


@pytest.mark.parametrize(("seed", "shown"), [("abc", "'abc'"), ("inf", "inf")])
@pytest.mark.usefixtures("any_type")
def test_a_seed_that_is_no_number_is_refused(seed: str, shown: str) -> None:
    with pytest.raises(StageError, match=f"seed is a whole number of at least 0, not {shown}"):
        checks.check(compose("config", [f"seed={seed}"]), dict.fromkeys(STAGES, ""))


@pytest.mark.parametrize("name", ["subsets/../../x", "/tmp/x", "mine", "subsets/.hidden", "a/b/c"])
@pytest.mark.usefixtures("conf")
def test_names_by_hand_stay_under_the_artifacts(name: str) -> None:
    with pytest.raises(StageError, match="a name has the form <kind>/<name>"):
        checks.check(compose("config"), dict.fromkeys(STAGES, "") | {"select": name})
