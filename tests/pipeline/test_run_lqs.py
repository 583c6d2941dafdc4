"""The LQS experiment at its smallest size, through the command line, as a person would run it."""

import json
import random
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from whole_runs import check_same, kill_at, manifests, run

from qurating.pipeline.naming import STAGES


@pytest.fixture(scope="module")
def scored(untouched: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The four cells of the LQS experiment on the same corpus: the folder of their artifacts, and what was printed."""
    artifacts = tmp_path_factory.mktemp("artifacts")
    shutil.copytree(untouched / "corpora", artifacts / "corpora")
    return artifacts, run(artifacts, "+experiment=lqs_scorer")


def test_the_lqs_experiment_goes_from_the_proxy_set_to_four_language_models(scored: tuple[Path, str]) -> None:
    artifacts, printed = scored
    kinds = [name.split("/")[0] for name in manifests(artifacts)]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        **dict.fromkeys(("corpora", "targets", "proxies", "annotations", "scores", "analyses"), 1),
        **{"models": 6, "subsets": 2, "orders": 4, "evaluations": 4},
    }
    assert printed.count("] annotate_proxy:") == 4
    # seven stages before the selection in each cell, built once; the corpus was there; each selection, for two orders
    assert printed.count("skipped: complete since") == 4 * 7 - 6 + 2
    methods = ("uniform", "uniform, folding by lqs", "lqs top-k", "lqs top-k, folding by lqs")
    (table,) = (json.loads(f.read_text(encoding="utf-8")) for f in artifacts.glob("analyses/*/table.json"))
    assert {row["method"]: row["reference"] for row in table} == dict.fromkeys(methods, "uniform")
    (page,) = (f.read_text(encoding="utf-8") for f in artifacts.glob("analyses/*/report.html"))
    assert "Annotation and scorer" in page
    assert "simulated" not in page
    assert not any(manifest["labels"] for manifest in manifests(artifacts).values())


def test_the_highest_scores_are_selected_and_the_target_is_not_evaluated(scored: tuple[Path, str]) -> None:
    artifacts, _ = scored
    scores = pa.concat_tables([pq.read_table(f) for f in sorted(artifacts.glob("scores/[!.]*/train/*.parquet"))])
    by_id = dict(zip(scores["id"].to_pylist(), scores["lqs_average"].to_pylist(), strict=True))
    (subset,) = (pq.read_table(f) for f in artifacts.glob("subsets/*lqs*/subset.parquet"))
    chosen = set(subset["id"].to_pylist())
    assert min(by_id[i] for i in chosen) >= max(score for i, score in by_id.items() if i not in chosen)
    (target,) = (pq.read_table(f) for f in artifacts.glob("targets/[!.]*/target.parquet"))
    fitted = set(target["document_id"].to_pylist())
    assert fitted
    corpus = next(artifacts.glob("corpora/[!.]*"))
    held_out = set().union(*(pq.read_table(f)["document_id"].to_pylist() for f in (corpus / "heldout").glob("*")))
    for file in artifacts.glob("evaluations/[!.]*/sequences.parquet"):
        assert set(pq.read_table(file)["document_id"].to_pylist()) == held_out - fitted


def test_lqs_killed_at_random_stages_and_run_again_ends_the_same(scored: tuple[Path, str], tmp_path: Path) -> None:
    reference, _ = scored
    shutil.copytree(reference / "corpora", tmp_path / "corpora")
    stages = ["prepare_target", "sample_proxy", "pretrain_proxy", "annotate_proxy", "train_scorer", "score", "order"]
    arguments = ["+experiment=lqs_scorer", "hydra.mode=RUN", "selection=top_k", "ordering=folding"]
    chosen = sorted(random.sample(stages, 2), key=STAGES.index)
    killed = {stage: kill_at(tmp_path, stage, *arguments) for stage in chosen}
    run(tmp_path, *arguments)
    check_same(reference, tmp_path, killed)


def test_an_existing_scorer_replaces_the_annotation(scored: tuple[Path, str], tmp_path: Path) -> None:
    artifacts, _ = scored
    shutil.copytree(artifacts / "corpora", tmp_path / "corpora")
    (scorer,) = artifacts.glob("models/scorer-*")
    shutil.copytree(scorer, tmp_path / "mine")
    before = "prepare_corpus,pretrain_proxy,prepare_target,sample_proxy,annotate_proxy,train_scorer,score"
    arguments = ["hydra.mode=RUN", "selection=top_k", f"scorer.from_pretrained={tmp_path}/mine", "scorer.jsonl=true"]
    printed = run(tmp_path, "+experiment=lqs_scorer", *arguments, f"stage=[{before},analyse]")
    assert "not needed: sample_proxy, pretrain_proxy, annotate_proxy, train_scorer\n" in printed
    assert re.findall(r"^\[(\d/\d)\] (\w+):", printed, re.MULTILINE) == [
        ("1/3", "prepare_corpus"),
        ("2/3", "prepare_target"),
        ("3/3", "score"),
    ]
    (made,) = tmp_path.glob("scores/by-mine*/train")
    (expected,) = artifacts.glob("scores/[!.]*/train")
    for file in expected.glob("*.parquet"):
        assert pq.read_table(made / file.name).equals(pq.read_table(file))
        lines = (made / f"{file.stem}.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["score"] for line in lines] == pq.read_table(file)["lqs_average"].to_pylist()
    # the page is of the scores, where no model was trained on what they select
    (page,) = (f.read_text(encoding="utf-8") for f in tmp_path.glob("analyses/*/report.html"))
    assert 'id="ratings_0"' in page
    assert 'id="lqs"' not in page
