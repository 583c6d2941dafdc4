"""Items and measures, against the harness' own numbers and a plain forward pass."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tasks_example import needs_lm_eval, random_model, run, task_folder
from transformers import AutoModelForCausalLM, AutoTokenizer

from qurating.metrics.choices import chosen

pytestmark = needs_lm_eval
TASKS = ["mmlu_dev_questions", "greedy_sums", "written_sums", "sums"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[dict[str, Any]]]:
    """The model, `tasks.json` and the items of an evaluation."""
    root = tmp_path_factory.mktemp("harness")
    model, folder = random_model(root / "lm"), str(task_folder(root / "own"))
    run(model, root / "out", tasks=TASKS, include_path=folder)
    return (
        model,
        json.loads((root / "out/tasks.json").read_text()),
        pq.read_table(root / "out/items.parquet").to_pylist(),
    )


def items(made: tuple[Path, Any, list[dict[str, Any]]], task: str) -> list[dict[str, Any]]:
    return [row for row in made[2] if row["task"] == task]


def test_accuracy_from_the_likelihoods_is_exactly_the_harness_own(made: tuple[Path, Any, Any]) -> None:
    results = made[1]["tasks"] | made[1]["subtasks"]["sums"]
    different = 0
    for task in ("mmlu_dev_questions", "many_sums", "few_sums"):
        rows = items(made, task)
        found = [chosen(row["log_likelihoods"]) in row["correct"] for row in rows]
        normalised = [chosen(row["log_likelihoods"], row["num_characters"]) in row["correct"] for row in rows]
        assert np.mean(found) == results[task]["harness"]["acc,none"] == results[task]["accuracy"]
        assert np.mean(normalised) == results[task]["harness"]["acc_norm,none"]
        error = results[task]["harness"]["acc_stderr,none"]
        assert results[task]["accuracy_stderr"] == pytest.approx(error, rel=1e-12)
        assert [row["accuracy"] for row in rows] == found
        different += sum(a != b for a, b in zip(found, normalised, strict=True))
    assert different  # or the two would be one


def test_likelihoods_are_those_of_a_plain_forward_pass(made: tuple[Path, Any, Any]) -> None:
    from qurating.evaluation.mmlu_questions import questions

    network = AutoModelForCausalLM.from_pretrained(made[0]).eval()
    tokenizer = AutoTokenizer.from_pretrained(made[0])
    for row in items(made, "mmlu_dev_questions")[:4]:
        asked = questions()[row["item"]]
        prompt = f"Question: {asked['question']}\nAnswer:"
        start = len(tokenizer(prompt)["input_ids"])
        expected = []
        for choice in asked["choices"]:
            ids = torch.tensor(tokenizer(f"{prompt} {choice}")["input_ids"])
            with torch.no_grad():
                logs = torch.log_softmax(network(input_ids=ids[None]).logits[0, :-1].double(), -1)
            expected.append(logs[range(start - 1, len(ids) - 1), ids[start:]].sum().item())
        np.testing.assert_allclose(row["log_likelihoods"], expected, rtol=1e-5)
        right = asked["answer"]
        assert row["correct"] == [right]
        num_bytes = len(asked["choices"][right].encode())
        assert row["bits_per_byte"] == pytest.approx(-expected[right] / math.log(2) / num_bytes, rel=1e-5)
        shares = torch.softmax(torch.tensor(expected, dtype=torch.float64), 0)
        assert row["probability"] == pytest.approx(shares[right].item(), rel=1e-3)
        lengths = torch.tensor([len(choice) for choice in asked["choices"]])
        shares = torch.softmax(torch.tensor(expected, dtype=torch.float64) / lengths, 0)
        assert row["probability_per_character"] == pytest.approx(shares[right].item(), rel=1e-3)


def test_means_over_items_and_chance(made: tuple[Path, Any, Any]) -> None:
    result = made[1]["tasks"]["mmlu_dev_questions"]
    rows = items(made, "mmlu_dev_questions")
    assert result["num_items"] == len(rows) == 12
    assert result["chance"] == 0.25
    for measure in ("bits_per_byte", "probability", "probability_per_character"):
        values = [row[measure] for row in rows]
        assert result[measure] == pytest.approx(np.mean(values))
        assert result[f"{measure}_stderr"] == pytest.approx(np.std(values, ddof=1) / math.sqrt(12))


def test_lengths_are_characters_and_bytes_of_the_answers(made: tuple[Path, Any, Any]) -> None:
    last = items(made, "many_sums")[4]
    assert last["num_characters"] == [1, 17, 5]  # "9", "it is 15, I think", five times é
    assert last["num_bytes"] == [1, 17, 10]


def test_one_answer_has_bits_and_no_chance(made: tuple[Path, Any, Any]) -> None:
    result, rows = made[1]["tasks"]["greedy_sums"], items(made, "greedy_sums")
    assert result["chance"] is result["probability"] is None
    assert result["bits_per_byte"] > 0
    assert [row["is_greedy"] for row in rows] == [[bool(row["accuracy"])] for row in rows]
    assert rows[0]["num_bytes"] == [1]  # the answer is " 1": the space before it is not counted


def test_a_written_answer_has_its_text_and_no_likelihood(made: tuple[Path, Any, Any]) -> None:
    result, rows = made[1]["tasks"]["written_sums"], items(made, "written_sums")
    assert all(isinstance(row["generated"], str) and row["log_likelihoods"] == [] for row in rows)
    assert result["bits_per_byte"] is None
    assert result["accuracy"] == result["harness"]["exact_match,none"]


def test_a_group_is_what_the_harness_makes_of_it(made: tuple[Path, Any, Any]) -> None:
    result = made[1]["tasks"]["sums"]
    assert result["num_items"] == 9 + 4
    assert result["accuracy"] == pytest.approx(result["harness"]["acc,none"])
    rows = items(made, "many_sums") + items(made, "few_sums")
    assert result["bits_per_byte"] == pytest.approx(np.mean([row["bits_per_byte"] for row in rows]))


def test_examples_come_before_the_question_and_hang_on_the_seed(made: tuple[Path, Any, Any], tmp_path: Path) -> None:
    folder = str(task_folder(tmp_path / "own"))
    given = {"tasks": [{"task": "many_sums", "num_fewshot": 2}], "include_path": folder}
    outputs = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(made[0], tmp_path / name, fewshot_seed=seed, **given)
        outputs.append(pq.read_table(tmp_path / name / "items.parquet"))
    assert outputs[0].equals(outputs[1])
    assert not outputs[0].equals(outputs[2])
    assert outputs[0]["log_likelihoods"].to_pylist() != [r["log_likelihoods"] for r in items(made, "many_sums")]
