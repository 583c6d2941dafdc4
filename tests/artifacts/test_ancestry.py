"""What makes two artifacts one method, and one run."""

from pathlib import Path

import pytest
from artifact_example import build, publish
from results_example import corpus, make, run, trained

from qurating.artifacts.ancestry import Ancestry
from qurating.artifacts.artifact import Artifact
from qurating.runtime.errors import StageError


def method(root: Path, reference: str) -> tuple[str, str]:
    made = Ancestry(root).referenced(reference)
    return made.method, made.run


def test_seeds_make_another_run_of_the_same_method(tmp_path: Path) -> None:
    first, second = (method(tmp_path, run(tmp_path, "uniform", 3.0, seed)) for seed in (0, 1))
    assert first[0] == second[0]
    assert first[1] != second[1]


def test_settings_far_up_make_another_method_and_names_do_not(tmp_path: Path) -> None:
    ratings = [
        make(tmp_path, f"ratings/{tag}", "rate", {"corpus": corpus(tmp_path)}, {"batch": size, "seed": seed})
        for tag, size, seed in (("small", 8, 0), ("large", 16, 0), ("small-again", 8, 5))
    ]
    small, large, again = (
        method(tmp_path, run(tmp_path, "top-k", 3.0, tag=f"t{place}", ratings=given))[0]
        for place, given in enumerate(ratings)
    )
    assert small == again
    assert small != large


def test_an_input_by_another_role_is_another_method(tmp_path: Path) -> None:
    texts = corpus(tmp_path)
    one, other = (make(tmp_path, f"ratings/{key}", "rate", {key: texts}, {}) for key in ("corpus", "excluded"))
    assert method(tmp_path, one)[0] != method(tmp_path, other)[0]


def test_modules_do_not_count_and_null_options_do(tmp_path: Path) -> None:
    """Null can mean something: of the options of a judge's requests, it removes one. An argument counts as absent."""
    settings = [
        {"_target_": "qurating.stages.rate.rate", "seed": 1},
        {"_target_": "qurating.stages.judging.rate.rate", "seed": 2},
        {"_target_": "qurating.stages.judging.rate.rate_otherwise", "seed": 2},
        {"_target_": "qurating.stages.judging.rate.rate", "seed": 2, "options": {"top_p": None}},
        {"_target_": "qurating.stages.judging.rate.rate", "seed": 2, "argument": None},
    ]
    found = [
        method(tmp_path, make(tmp_path, f"ratings/{place}", "rate", {}, each))[0] for place, each in enumerate(settings)
    ]
    assert found[0] == found[1] == found[4]
    assert len(set(found)) == 3


def test_another_source_under_the_same_name_is_another_method(tmp_path: Path) -> None:
    found = set()
    for commit in "ab":
        sources = {"model": f"commit {commit}"}
        artifact = Artifact(tmp_path / f"ratings/{commit}", "rate", {}, {"model": "org/name"}, sources=sources)
        publish(artifact, build)
        found.add(Ancestry(tmp_path).artifact(f"ratings/{commit}").method)
    assert len(found) == 2


def test_the_corpus_of_a_model_is_the_one_it_learnt_from(tmp_path: Path) -> None:
    other = corpus(tmp_path, "other", lines=2)
    model = trained(tmp_path)
    name = "evaluations/x"
    make(tmp_path, name, "evaluate", {"corpus": other, "language_model": model}, {})
    chain = Ancestry(tmp_path).artifact(name).by_stage()
    assert set(chain) == {"prepare_corpus", "select", "order", "train_lm", "evaluate"}
    assert chain["prepare_corpus"].folder.name == "embedded"
    assert chain["train_lm"].reference == model


def test_what_is_missing_damaged_or_replaced_is_an_error(tmp_path: Path) -> None:
    given = run(tmp_path, "uniform", 3.0)
    subset = tmp_path / "subsets/uniform-shuffle-0"
    file = subset / "manifest.json"
    original = file.read_text()
    file.write_text(original.replace("30000", "30001", 1))
    with pytest.raises(StageError, match="damaged: its checksum"):
        Ancestry(tmp_path).referenced(given)
    subset.rename(tmp_path / "away")
    with pytest.raises(StageError, match="subsets/uniform-shuffle-0 is not here"):
        Ancestry(tmp_path).referenced(given)
    make(tmp_path, "subsets/uniform-shuffle-0", "select", {}, {"label": "uniform"})
    with pytest.raises(StageError, match=r"subsets/uniform-shuffle-0 \(\w{16}\) was replaced since"):
        Ancestry(tmp_path).referenced(given)


def test_made_of_follows_the_chain_and_tells_what_is_stale(tmp_path: Path) -> None:
    texts, other = corpus(tmp_path), corpus(tmp_path, "other", seed=1)
    kept = run(tmp_path, "uniform", 3.0)
    run(tmp_path, "top-k", 3.0, texts=other)
    stale = run(tmp_path, "sample", 3.0, seed=1, tag="stale")
    make(tmp_path, "subsets/checked", "check_subset", {"corpus": texts}, {})
    (tmp_path / "evaluations/.begun.partial").mkdir()
    identity = "subsets/stale", "select", {"corpus": texts}, {"label": "another"}
    publish(Artifact(tmp_path / identity[0], *identity[1:], overwrite=True), build)
    found, left_out = Ancestry(tmp_path).made_of("corpora/embedded", "evaluate")
    assert found == [kept.split(" (")[0]]
    (name,) = left_out
    assert name == stale.split(" (")[0]
    assert "subsets/stale" in left_out[name]
    assert left_out[name].endswith("was replaced since")
    found, left_out = Ancestry(tmp_path).made_of("corpora/embedded", "select")
    assert (found, left_out) == (["subsets/stale", "subsets/uniform-shuffle-0"], {})
    assert Ancestry(tmp_path).made_of("corpora/absent", "select") == ([], {})


def test_made_of_tells_a_damaged_manifest(tmp_path: Path) -> None:
    run(tmp_path, "uniform", 3.0)
    (tmp_path / "evaluations/lm-uniform-shuffle-0/manifest.json").write_text("{")
    found, left_out = Ancestry(tmp_path).made_of("corpora/embedded", "evaluate")
    assert found == []
    assert list(left_out) == ["evaluations/lm-uniform-shuffle-0"]
