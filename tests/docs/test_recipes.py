"""The recipes of docs/extending.md, followed as written: files are made, commands run, and the outcome is checked."""

import collections
import csv
import http.server
import json
import os
import pydoc_data.topics
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from json_answers import JsonHandler
from markdown_pages import RECIPES, ROOT, Block, blocks, commands_of

RULE, CRITERION, ENDPOINT = "A selection rule", "A criterion", "An endpoint"
STAGE, MODEL, SCORER = "A stage", "A language model", "A scorer"
BUDGET = 10_000  # tokens
TO_RATINGS = "prepare_corpus,judge,train_rater,rate"
TO_SCORER = "prepare_corpus,prepare_target,sample_proxy,pretrain_proxy,annotate_proxy,train_scorer"

pytestmark = pytest.mark.timeout(1800)  # trainings in processes of their own, on whatever machine


def section(title: str) -> list[Block]:
    return [block for block in blocks(RECIPES) if block.section == title]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two files of real text, each a domain, and `artifacts`, which the recipes share."""
    folder = tmp_path_factory.mktemp("shared")
    topics = [text for _, text in sorted(pydoc_data.topics.topics.items()) if len(text) > 500][:60]
    for name, texts in {"early": topics[:40], "late": topics[40:]}.items():
        lines = [json.dumps({"text": text[:6000]}) + "\n" for text in texts]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    target = [json.dumps({"text": text[:500]}) + "\n" for text in topics[:6]]
    (folder / "target.txt").write_text("".join(target), encoding="utf-8")
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what the program consists of."""
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("conf", "qurating"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    shutil.copy(ROOT / "run.py", tmp_path)
    return tmp_path


def make_files(title: str, tree: Path) -> None:
    """Make the files of a recipe, or add to them, where the page says."""
    for block in section(title):
        if not (found := block.file):
            continue
        path = tree / found["path"]
        if found[0].endswith("`:") and found["line"] is None and "gets" not in found[0]:
            assert not path.exists(), f"{block.place}: a new file is there already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
            continue
        text = path.read_text(encoding="utf-8")
        if found["line"] is None:
            path.write_text(f"{text}\n\n{block.text}", encoding="utf-8")
        else:
            assert text.count(found["line"] + "\n") == 1, f"{block.place}: {path.name} has no such line, or several"
            path.write_text(text.replace(found["line"] + "\n", found["line"] + "\n" + block.text), encoding="utf-8")


def follow(title: str, tree: Path, shared: Path, *more: str, stages: str | None = None, **variables: str) -> None:
    """Make the files of a recipe and run its command at a small scale.

    Args:
        more: overrides that are appended.
        stages: that are run, in place of all.
        variables: of the environment.
    """
    make_files(title, tree)
    (shown,) = [block for block in section(title) if block.language == "sh"]
    (command,) = commands_of(shown.text, shown.place)
    assert command.words[:2] == ("python", "run.py")
    small = [
        f"corpus.paths=[{shared}/early.jsonl,{shared}/late.jsonl]",
        *(
            "corpus=jsonl",
            "corpus.name=topics",
            "corpus.sequence_length=128",
            "corpus.vocabulary_size=600",
            "corpus.heldout_fraction=0.15",
        ),
        *(f"num_tokens={BUDGET}", "num_workers=1", f"paths.artifacts={shared}/artifacts"),
        *(f"hydra.run.dir={tree}/outputs", f"hydra.sweep.dir={tree}/multirun"),
    ]
    chosen = [f"stage=[{stages}]"] if stages else []
    ran = subprocess.run(
        [sys.executable, *command.words[1:], *small, *chosen, *more],
        cwd=tree,
        env=os.environ | {"HF_HUB_OFFLINE": "1"} | variables,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-3000:]


def artifact(shared: Path, pattern: str) -> Path:
    """The one artifact whose `<kind>/<name>` fits a pattern, and that is complete."""
    (found,) = [file.parent for file in (shared / "artifacts").glob(f"{pattern}/manifest.json")]
    return found


def rows(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(file) for file in sorted(folder.glob("*.parquet"))])


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return found


def test_every_recipe_is_followed_here() -> None:
    shown = {block.section for block in blocks(RECIPES) if block.file or block.language == "sh"}
    assert shown == {RULE, CRITERION, ENDPOINT, STAGE, MODEL, SCORER}


def test_a_rule_takes_what_is_nearest(tree: Path, shared: Path) -> None:
    follow(RULE, tree, shared, "scale=smoke", stages=f"{TO_RATINGS},select")
    corpus = rows(artifact(shared, "corpora/*") / "train")
    subset = artifact(shared, "subsets/*nearest_0.5*")
    ratings = shared / "artifacts" / manifest(subset)["inputs"]["ratings"].rsplit(" (", 1)[0]
    rating = rows(ratings / "train")["educational_value_average"].to_numpy()
    is_taken = np.isin(corpus["id"].to_numpy(), pq.read_table(subset / "subset.parquet")["id"].to_numpy())
    lengths, domains = corpus["length"].to_numpy(), np.array(corpus["domain"].to_pylist())
    distance = np.abs((rating - rating.mean()) / rating.std() - 0.5)
    assert set(domains) == {"early", "late"}
    for domain in ("early", "late"):
        here = domains == domain
        taken, left = here & is_taken, here & ~is_taken
        assert distance[taken].max() <= distance[left].min() + 1e-6
        share = BUDGET * lengths[here].sum() / lengths.sum()
        last = lengths[taken][distance[taken].argmax()]
        assert lengths[taken].sum() - last < share + 1
        assert lengths[taken].sum() >= share - 1
    assert manifest(subset)["counts"]["method"] == "educational_value nearest 0.5"


def test_a_criterion_is_judged_rated_and_selected_by(tree: Path, shared: Path) -> None:
    follow(CRITERION, tree, shared, "scale=smoke", stages=f"{TO_RATINGS},select")
    judged = pq.read_table(artifact(shared, "judgments/*clarity*") / "judgments.parquet")
    clarity, style = (preferences(judged, name) for name in ("clarity", "writing_style"))
    assert ((clarity > 0) & (clarity < 1)).all()
    assert not np.allclose(clarity, style)
    assert "clarity_average" in rows(artifact(shared, "ratings/*clarity*") / "train").column_names
    assert manifest(artifact(shared, "subsets/*by-clarity*"))["config"]["criterion"] == "clarity"


def preferences(judged: pa.Table, criterion: str) -> npt.NDArray[np.float64]:
    """P(the second text is preferred) of each pair, (N,)."""
    return np.array([matrix[0][1] for matrix in judged[f"{criterion}_average"].to_pylist()])


class Server(http.server.ThreadingHTTPServer):
    """Chat completions that prefer B by 3 to 1; `seen` counts what requests were like."""

    request_queue_size = 256
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: collections.Counter[tuple[str, str]] = collections.Counter()


class Handler(JsonHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def post(self) -> None:
        asked = json.loads(self.body())
        self.server.seen[asked["model"], self.headers.get("Authorization", "")] += 1
        top = [{"token": "B", "logprob": float(np.log(0.75))}, {"token": "A", "logprob": float(np.log(0.25))}]
        answer = {
            "message": {"role": "assistant", "content": "B"},
            "logprobs": {"content": [top[0] | {"top_logprobs": top}]},
        }
        self.answer(200, {"choices": [{"index": 0} | answer]})


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


def test_an_endpoint_is_asked(tree: Path, shared: Path, server: Server) -> None:
    url = f"judge.base_url=http://127.0.0.1:{server.server_address[1]}/v1"
    more = ["hydra.mode=RUN", "scale=smoke", "selection=uniform", url]
    follow(ENDPOINT, tree, shared, *more, stages="prepare_corpus,judge", LAB_API_KEY="of-the-lab")
    assert set(server.seen) == {("Qwen/Qwen2.5-7B-Instruct", "Bearer of-the-lab")}
    folder = artifact(shared, "judgments/lab-qwen2.5-7B*")
    judged = pq.read_table(folder / "judgments.parquet")
    assert len(judged) == 80
    assert preferences(judged, "educational_value") == pytest.approx(0.5)  # B in both orders: no text is preferred
    assert "of-the-lab" not in "".join(file.read_text(errors="ignore") for file in folder.rglob("*") if file.is_file())


def test_a_stage_counts_the_corpus(tree: Path, shared: Path) -> None:
    follow(STAGE, tree, shared)
    with open(artifact(shared, "descriptions/*") / "domains.csv", newline="", encoding="utf-8") as stream:
        found = {row["domain"]: (int(row["sequences"]), int(row["tokens"])) for row in csv.DictReader(stream)}
    expected: dict[str, tuple[int, int]] = {}
    corpus = rows(artifact(shared, "corpora/*") / "train")
    for domain, length in zip(corpus["domain"].to_pylist(), corpus["length"].to_pylist(), strict=True):
        sequences, tokens = expected.get(domain, (0, 0))
        expected[domain] = (sequences + 1, tokens + length)
    assert found == expected
    assert list(found) == ["early", "late"]
    assert manifest(artifact(shared, "descriptions/*"))["counts"] == {
        "domains": 2,
        "tokens": sum(tokens for _, tokens in expected.values()),
    }


def test_a_language_model_is_trained(tree: Path, shared: Path) -> None:
    follow(MODEL, tree, shared, stages="prepare_corpus,select,order,train_lm,evaluate")
    sizes = json.loads((artifact(shared, "models/lm-wide-*") / "config.json").read_text(encoding="utf-8"))
    assert (sizes["hidden_size"], sizes["num_attention_heads"], sizes["num_hidden_layers"]) == (192, 6, 2)
    settings = manifest(artifact(shared, "models/lm-wide-*"))["config"]
    assert settings["optimizer"]["lr"] == 3e-3
    assert 1 < manifest(artifact(shared, "evaluations/lm-wide-*"))["counts"]["perplexity"] < 600


def test_a_scorer_is_trained(tree: Path, shared: Path) -> None:
    small = [
        *("target=jsonl", f"target.paths={shared}/target.txt", "target.on_too_long=cut"),
        *("annotation.num_proxy_sequences=48", "annotation.num_steps=4", "annotation.contribution_interval=2"),
        *("annotation.pretrain_tokens=10_000", "model.network.hidden_size=32", "model.network.num_hidden_layers=1"),
    ]
    follow(SCORER, tree, shared, *small, stages=TO_SCORER)
    folder = artifact(shared, "models/scorer-narrow-*")
    settings = manifest(folder)["config"]
    assert (settings["network"]["hidden_size"], settings["num_epochs"]) == (64, 8)
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["hidden_size"] == 64
