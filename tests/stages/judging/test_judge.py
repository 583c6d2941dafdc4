"""The judge stage from a corpus to judgments, by the simulated judge and by endpoints that misbehave."""

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from aiohttp import web
from judge_fixtures import (
    CONF,
    CRITERIA,
    EXPLANATION,
    LICENCE,
    endpoint,
    logprob_reply,
    make_corpus,
    real_corpus,
    respond,
    votes_reply,
)
from omegaconf import OmegaConf
from tokenizers import Tokenizer

from qurating.artifacts.files import read_json
from qurating.judging.pairs import _unranked, draw_pairs
from qurating.judging.prompts import Prompt, snippet
from qurating.pipeline import configuration
from qurating.runtime.errors import StageError
from qurating.stages.judging.judge import judge


def settings(choice: str = "simulated", **changes: Any) -> dict[str, Any]:
    configuration.register_resolvers()
    given = OmegaConf.load(CONF / "judge" / f"{choice}.yaml")
    if "defaults" in given:  # as Hydra composes it
        first = CONF / "judge" / f"{given.defaults[0]}.yaml"
        given = OmegaConf.masked_copy(given, [str(key) for key in given if key != "defaults"])  # type: ignore[arg-type]
        given = OmegaConf.merge(OmegaConf.load(first), given)
    small: dict[str, Any] = {"num_pairs": 12, "max_snippet_tokens": 64, "max_retries": 0, "timeout_seconds": 20.0}
    small |= {"patience_seconds": 0.0, "triple_fraction": 0.0}
    if choice == "local":
        small |= {"gguf": "", "name": "local"}
    if choice == "endpoint":
        small |= {"name": "served", "model": "m"}
    if choice == "openai":
        small |= {"max_cost_usd": None}
    merged = OmegaConf.to_container(OmegaConf.merge(given, small | changes), resolve=True)
    assert isinstance(merged, dict)
    return {str(key): value for key, value in merged.items()}


def run(
    output: Path, corpus: Path, given: dict[str, Any], criteria: dict[str, Any] | None = None, seed: int = 1
) -> Any:
    output.mkdir(exist_ok=True)
    return judge(output=output, corpus=corpus, criteria=criteria or CRITERIA, judge=given, compared=None, seed=seed)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return real_corpus(tmp_path_factory.mktemp("corpus") / "c")


@pytest.fixture(autouse=True)
def _quick_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are built and not drawn: that takes a second, and has a test of its own (test_judge_report.py)."""
    monkeypatch.setattr(
        "qurating.reports.style.save", lambda figure, path: path.parent.mkdir(exist_ok=True) or "<svg/>"
    )


def test_simulated_judgments_from_end_to_end(tmp_path: Path, corpus: Path) -> None:
    counts = run(tmp_path / "o", corpus, settings())
    assert counts["labels"] == ["simulated judge"]
    assert counts["pairs"] == 12
    assert counts["requests"] == 12 * 4 * 2
    assert counts["failed_requests"] == 0
    assert sorted(file.name for file in (tmp_path / "o").iterdir()) == [
        "judgments.parquet",
        "plots",
        "report.html",
        "summary.json",
    ]
    table = pq.read_table(tmp_path / "o" / "judgments.parquet")
    expected = {"texts", "indices", "domains", "method"}
    expected |= {f"{c}_{kind}" for c in CRITERIA for kind in ("votes_a", "votes_b", "average")}
    assert set(table.column_names) == expected
    corpus_rows = {
        row["id"]: row for file in sorted((corpus / "train").iterdir()) for row in pq.read_table(file).to_pylist()
    }
    for row in table.to_pylist():
        assert row["indices"][0] != row["indices"][1]
        for text, sequence, domain in zip(row["texts"], row["indices"], row["domains"], strict=True):
            assert text in corpus_rows[sequence]["text"]
            assert corpus_rows[sequence]["domain"] == domain
        for c in CRITERIA:
            a, b, average = (np.array(row[f"{c}_{kind}"]) for kind in ("votes_a", "votes_b", "average"))
            p_ab, p_ba = (b[i, j] / (a[i, j] + b[i, j]) for i, j in [(0, 1), (1, 0)])
            assert average[0, 1] == pytest.approx((p_ab + 1 - p_ba) / 2)
            assert average[0, 1] + average[1, 0] == pytest.approx(1)
            assert average[0, 0] == average[1, 1] == a[0, 0] == b[1, 1] == -100
    summary = read_json(tmp_path / "o" / "summary.json")
    assert summary["simulated"] is True
    assert summary["method"] == "logprobs"
    assert all(found["positional_bias"] > 0 for found in summary["criteria"].values())  # 0.4 logits are set


@pytest.mark.parametrize("method", ["logprobs", "votes"])
def test_the_result_does_not_depend_on_concurrency(tmp_path: Path, corpus: Path, method: str) -> None:
    files = []
    for concurrency in (1, 16):
        output = tmp_path / str(concurrency)
        run(output, corpus, settings(method=method, max_concurrency=concurrency))
        files.append((output / "judgments.parquet").read_bytes())
    assert files[0] == files[1]


def test_seeds_draw_other_pairs(tmp_path: Path, corpus: Path) -> None:
    drawn = []
    for seed in (1, 2):
        run(tmp_path / str(seed), corpus, settings(num_pairs=5), seed=seed)
        drawn.append(pq.read_table(tmp_path / str(seed) / "judgments.parquet")["indices"].to_pylist())
    assert drawn[0] != drawn[1]


def test_preferences_follow_the_criterion(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "c", {"good": [EXPLANATION], "boilerplate": [LICENCE]})
    run(tmp_path / "o", corpus, settings(num_pairs=1, max_snippet_tokens=1000, noise=0.0))
    (row,) = pq.read_table(tmp_path / "o" / "judgments.parquet").to_pylist()
    good = row["domains"].index("good")
    assert row["educational_value_average"][1 - good][good] > 0.9


KILLED = """
import json, sys
from pathlib import Path
from qurating.stages.judge import judge
given = json.loads(sys.argv[1])
given |= {"output": Path(given["output"]), "corpus": Path(given["corpus"])}
judge(**given, compared=None, seed=1)
"""


def test_a_stage_killed_midway_gives_the_same_and_asks_only_the_rest(tmp_path: Path, corpus: Path) -> None:
    asked: Counter[str] = Counter()
    slow = 0.05

    async def answer(call: dict[str, Any]) -> web.Response:
        text = json.dumps(call["body"], sort_keys=True)
        asked[text] += 1
        await asyncio.sleep(slow)
        p = (hash_of(text) % 999 + 0.5) / 1000
        return respond(logprob_reply({"A": math.log(1 - p), "B": math.log(p)}))

    with endpoint(answer) as url:
        given = settings("endpoint", base_url=url, max_concurrency=4)
        one = {"educational_value": CRITERIA["educational_value"], "writing_style": CRITERIA["writing_style"]}
        output = tmp_path / "o"
        output.mkdir()
        arguments = {"output": str(output), "corpus": str(corpus), "criteria": one, "judge": given}
        process = subprocess.Popen([sys.executable, "-c", KILLED, json.dumps(arguments)], stderr=subprocess.DEVNULL)
        journal = output / "journal.jsonl"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and (not journal.exists() or journal.read_bytes().count(b"\n") < 10):
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        known = journal.read_bytes().count(b"\n")
        assert 10 <= known < 48
        time.sleep(0.2)  # what was in flight has been counted
        slow = 0.0
        before = sum(asked.values())
        run(output, corpus, given, one)
        assert sum(asked.values()) - before == 48 - known
        assert len(asked) == 48
        run(tmp_path / "whole", corpus, given, one)
    for name in ("judgments.parquet", "summary.json"):
        assert (output / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def hash_of(text: str) -> int:
    return zlib.crc32(text.encode())


def test_a_stage_killed_after_its_last_write_asks_nothing(tmp_path: Path, corpus: Path) -> None:
    counts = run(tmp_path / "o", corpus, settings(num_pairs=3))
    before = (tmp_path / "o" / "judgments.parquet").stat().st_mtime_ns
    assert run(tmp_path / "o", corpus, settings(num_pairs=3)) == counts
    assert (tmp_path / "o" / "judgments.parquet").stat().st_mtime_ns == before


def test_a_failed_order_leaves_its_place_empty_and_is_counted(tmp_path: Path, corpus: Path) -> None:
    seen: list[str] = []

    def answer(call: dict[str, Any]) -> web.Response:
        seen.append(json.dumps(call["body"]))
        if len(seen) == 4:  # pair 1, order 1
            return respond(logprob_reply({"Sorry": -0.01}))
        return respond(logprob_reply({"A": math.log(0.25), "B": math.log(0.75)}))

    one = {"educational_value": CRITERIA["educational_value"]}
    with endpoint(answer) as url:
        counts = run(tmp_path / "o", corpus, settings("endpoint", base_url=url, max_concurrency=1), one)
    assert counts["failed_requests"] == 1
    assert counts["failed_by_reason"] == {"neither label is among the likely first tokens": 1}
    assert counts["labels"] == []
    rows = pq.read_table(tmp_path / "o" / "judgments.parquet").to_pylist()
    assert rows[1]["educational_value_votes_b"] == [[-100, pytest.approx(0.75)], [-100, -100]]
    assert rows[1]["educational_value_average"] == [[-100, -100], [-100, -100]]
    assert rows[0]["educational_value_average"] == [[-100, 0.5], [0.5, -100]]
    (reason,) = read_json(tmp_path / "o" / "summary.json")["failed"].values()
    assert reason == {"num_requests": 1, "example": "the answer was 'Sorry'"}


def test_votes_are_asked_in_one_call_with_the_paper_s_options(tmp_path: Path, corpus: Path, monkeypatch: Any) -> None:
    bodies: list[dict[str, Any]] = []

    def answer(call: dict[str, Any]) -> web.Response:
        bodies.append(call["body"])
        return respond(votes_reply(*["A"] * 5, *["B"] * 15))

    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    one = {"educational_value": CRITERIA["educational_value"]}
    with endpoint(answer) as url:
        run(tmp_path / "o", corpus, settings("openai", base_url=url, method="votes"), one)
    assert all(body["n"] == 20 and body["temperature"] == 1.0 and body["max_tokens"] == 1 for body in bodies)
    assert all(body["logit_bias"] == {"32": 100, "33": 100} and "logprobs" not in body for body in bodies)
    row = pq.read_table(tmp_path / "o" / "judgments.parquet").to_pylist()[0]
    assert row["educational_value_votes_a"] == [[-100, 5], [5, -100]]
    assert row["method"] == "votes"


def test_an_endpoint_that_is_down_keeps_the_journal(tmp_path: Path, corpus: Path) -> None:
    given = settings("endpoint", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(StageError, match=r"http://127\.0\.0\.1:9/v1 does not answer"):
        run(tmp_path / "o", corpus, given)
    assert (tmp_path / "o" / "journal.jsonl").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"method": "guess"}, "auto, logprobs, votes or separate_votes"),
        ({"modell": "x"}, "no setting modell"),
        ({"num_pairs": 0}, "num_pairs is 0"),
        ({"num_pairs": "many"}, "num_pairs is many: it must be a whole number"),
        ({"max_cost_usd": "abc"}, "max_cost_usd is abc: a sum in US dollars"),
        ({"simulated": False}, "judge.base_url"),
        ({"simulated": False, "base_url": "http://x/v1", "api_key_variable": "NO_SUCH_KEY"}, "NO_SUCH_KEY"),
        ({"prompt": "conf/prompts/none.txt"}, "none.txt"),
        ({"num_pairs": 10**6}, "different pairs.*lower judge.num_pairs"),
        ({"min_words": 10**6}, "0 can be judged"),
    ],
)
def test_settings_that_cannot_work(tmp_path: Path, corpus: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(StageError, match=says):
        run(tmp_path / "o", corpus, settings(**changes))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"question": None}, "conf/criterion/humour.yaml: `question` is missing"),
        ({"simulated_weights": None}, "conf/criterion/humour.yaml: `simulated_weights` is missing.*judge=endpoint"),
        ({"simulated_weights": {"wit": 1.0}}, "no statistic wit"),
        ({"name": "humor"}, "conf/criterion/humour.yaml: `name` is 'humor'"),
    ],
)
def test_criteria_that_are_incomplete(tmp_path: Path, corpus: Path, change: dict[str, Any], says: str) -> None:
    humour: dict[str, Any] = {"name": "humour", "question": "Which is funnier?", "description": "Laughs."}
    humour |= {"simulated_weights": {"even_sentences": 1.0}} | change
    with pytest.raises(StageError, match=says):
        run(tmp_path / "o", corpus, settings(), {"humour": humour})


@pytest.mark.parametrize("texts", [[], [EXPLANATION], [EXPLANATION, "too short"]])
def test_a_corpus_of_fewer_than_two_sequences(tmp_path: Path, texts: list[str]) -> None:
    corpus = make_corpus(tmp_path / "c", {"d": texts})
    with pytest.raises(StageError, match="judging takes two"):
        run(tmp_path / "o", corpus, settings(num_pairs=1))


def test_pairs_never_repeat_and_use_every_sequence_once_where_there_are_enough(corpus: Path) -> None:
    tokenizer = Tokenizer.from_file(str(corpus / "tokenizer" / "tokenizer.json"))
    once = draw_pairs(corpus / "train", tokenizer, 30, 20, 64, seed=3)
    used = [*once.first, *once.second]
    assert sorted(used) == list(range(60))
    many = draw_pairs(corpus / "train", tokenizer, 500, 20, 64, seed=3)
    assert len({frozenset(pair) for pair in zip(many.first.tolist(), many.second.tolist(), strict=True)}) == 500
    assert all(len(pair) == 2 for pair in map(set, zip(many.first, many.second, strict=True)))
    assert len(set(many.ids)) == len(many.ids) == 61
    assert many.num_too_short == 3
    snippets = dict(zip(many.ids, many.texts, strict=True))
    assert all(snippets[sequence] == text for sequence, text in zip(once.ids, once.texts, strict=True))


def test_all_pairs_have_a_number() -> None:
    first, second = _unranked(np.arange(45))
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == [(i, j) for j in range(10) for i in range(j)]
    large = 250_000 * 249_999 // 2
    first, second = _unranked(np.array([large - 1, large]))
    assert (first.tolist(), second.tolist()) == ([249_998, 0], [249_999, 250_000])


def test_snippets(corpus: Path) -> None:
    tokenizer = Tokenizer.from_file(str(corpus / "tokenizer" / "tokenizer.json"))
    text = "🙂é漢字 x " * 60
    offsets = tokenizer.encode(text).offsets
    lengths = []
    for seed in range(300):
        cut = snippet(text, tokenizer, 64, seed)
        assert cut in text
        assert "\ufffd" not in cut
        assert cut == snippet(text, tokenizer, 64, seed)
        lengths.append(len(cut) / len(text) * len(offsets))
    assert snippet("short", tokenizer, 64, 0) == "short"
    assert 25 < min(lengths) < 45  # U[32, 64] in half of the cases
    assert max(lengths) < 72
    assert 0.4 < np.mean([length > 58 for length in lengths]) < 0.8


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ text_a }}", "block user"),
        ("{% block user %}{{ text_a }} {{ criterion.question }}{% endblock %}", "text_b"),
        ("{% block user %}{{ text_c }}{% endblock %}", "text_c"),
        ("x\n{% block user %}{{ text_a }", "line 2"),
    ],
)
def test_prompt_templates_that_cannot_work(tmp_path: Path, template: str, says: str) -> None:
    (tmp_path / "p.txt").write_text(template)
    with pytest.raises(ValueError, match=rf"p\.txt.*{says}"):
        Prompt(tmp_path / "p.txt")


def test_a_prompt_shows_texts_as_they_are() -> None:
    prompt = Prompt(CONF / "prompts" / "pairwise.txt")
    system, user = prompt.messages(CRITERIA["writing_style"], "{{ 7 * 7 }} <b>&amp;", "  {% block user %}\n")
    assert (system["role"], user["role"]) == ("system", "user")
    assert "<text_a>\n{{ 7 * 7 }} <b>&amp;\n</text_a>" in user["content"]
    assert "<text_b>\n  {% block user %}\n\n</text_b>" in user["content"]
