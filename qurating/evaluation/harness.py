"""One task of lm-evaluation-harness: its results, and every item with the likelihoods of its answers."""

from typing import Any

import pyarrow as pa

from qurating.evaluation.harness_tasks import set_seeds
from qurating.metrics.choices import bits_per_byte, mean_and_error, probability

SCHEMA = pa.schema(
    [
        ("task", pa.string()),
        ("item", pa.int64()),
        ("correct", pa.list_(pa.int32())),
        ("log_likelihoods", pa.list_(pa.float64())),
        ("num_characters", pa.list_(pa.int32())),
        ("num_bytes", pa.list_(pa.int32())),
        ("is_greedy", pa.list_(pa.bool_())),
        ("generated", pa.string()),
        ("is_cut", pa.bool_()),
        ("accuracy", pa.float64()),
        ("accuracy_normalised", pa.float64()),
        ("bits_per_byte", pa.float64()),
        ("probability", pa.float64()),
        ("probability_per_character", pa.float64()),
    ]
)
MEASURES = ("accuracy", "accuracy_normalised", "bits_per_byte", "probability", "probability_per_character")
_BOOTSTRAPS = 1000  # for standard errors of what is no mean, such as F1
_FIRST = ("acc", "exact_match")  # what counts as accuracy, if a task reports it


def run_task(model: Any, task: Any, limit: int | None, seed: int) -> tuple[dict[str, Any], pa.Table]:
    """Evaluate one task; returns its results and its items (columns: SCHEMA).

    The results have `kind` (the harness' type of output), `num_fewshot`, `version`, `num_items`, `num_cut`, `chance`
    (mean share of correct choices; None without choices), `harness` (what the harness reports, under its own names),
    and of each of MEASURES `<measure>` and `<measure>_stderr`, the mean over the items; None where it has no meaning.

    Args:
        model: a `HarnessModel`.
        task: of the harness, loaded.
        limit: the first items of the task; None: all.
        seed: of everything that the task draws.
    """
    from lm_eval.evaluator import evaluate

    set_seeds(seed)
    model.cut.clear()
    found = evaluate(
        lm=model,
        task_dict={"tasks": {task.task_name: task}},
        limit=limit,
        bootstrap_iters=_BOOTSTRAPS,
        log_samples=True,
        confirm_run_unsafe_code=False,
    )
    reported = found["results"][task.task_name]
    samples = found["samples"][task.task_name]
    first = samples[0]["filter"]  # of several ways to read an answer, the first
    rows = [_item(task, sample, model.cut) for sample in samples if sample["filter"] == first]
    results = {
        "kind": task.OUTPUT_TYPE,
        "num_fewshot": task.get_config("num_fewshot"),
        "version": str(task.VERSION),
        "harness": {key: None if value == "N/A" else value for key, value in reported.items() if "," in key},
        **measures(rows),
    }
    return results, pa.Table.from_pylist(rows, SCHEMA)


def measures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The means of items, with standard errors: see `run_task`."""
    found: dict[str, Any] = {"num_items": len(rows), "num_cut": sum(row["is_cut"] for row in rows)}
    shares = [len(row["correct"]) / len(row["log_likelihoods"]) for row in rows if len(row["log_likelihoods"]) > 1]
    found["chance"] = mean_and_error(shares)[0]
    for measure in MEASURES:
        values = [row[measure] for row in rows if row[measure] is not None]
        found[measure], found[f"{measure}_stderr"] = mean_and_error(values)
    return found


def _item(task: Any, sample: dict[str, Any], cut: set[tuple[str, str]]) -> dict[str, Any]:
    asked = [tuple(arguments) for arguments in sample["arguments"]]
    row: dict[str, Any] = {
        "task": task.task_name,
        "item": sample["doc_id"],
        "correct": [],
        "log_likelihoods": [],
        "num_characters": [],
        "num_bytes": [],
        "is_greedy": [],
        "generated": None,
        "is_cut": any((one[0], one[1] if isinstance(one[1], str) else "") in cut for one in asked if len(one) > 1),
        "accuracy": _number(sample, next((name for name in _FIRST if name in sample), sample["metrics"][0])),
        "accuracy_normalised": _number(sample, "acc_norm"),
        **dict.fromkeys(MEASURES[2:]),
    }
    if task.OUTPUT_TYPE == "generate_until":
        answer = sample["filtered_resps"][0]
        row["generated"] = answer if isinstance(answer, str) else str(answer)
    elif task.OUTPUT_TYPE in ("multiple_choice", "loglikelihood"):
        row |= _likelihoods(task, sample, [str(one[1]) for one in asked])
    return row


def _likelihoods(task: Any, sample: dict[str, Any], answers: list[str]) -> dict[str, Any]:
    """The likelihoods of the answers of an item, and what they say about it."""
    document = sample["doc"]
    correct: Any
    if task.OUTPUT_TYPE == "multiple_choice" and not task.multiple_input:
        correct, answers = task.doc_to_target(document), list(task.doc_to_choice(document))
    else:  # one answer, or one answer to several questions: it comes with the space before it
        answers = [answer.strip() for answer in answers]
        correct = task.doc_to_text(document) if task.OUTPUT_TYPE == "multiple_choice" else 0
    indices = _indices(correct if isinstance(correct, list) else [correct], answers)
    # beyond the choices, a task may ask for likelihoods without the question
    pairs = sample["filtered_resps"][: len(answers)]
    likelihoods = [float(value) for value, _ in pairs]
    characters = [len(answer) for answer in answers]
    num_bytes = [len(answer.encode("utf-8")) for answer in answers]
    found: dict[str, Any] = {
        "correct": indices,
        "log_likelihoods": likelihoods,
        "num_characters": characters,
        "num_bytes": num_bytes,
        "is_greedy": [bool(greedy) for _, greedy in pairs],
    }
    if indices:
        found["bits_per_byte"] = bits_per_byte(likelihoods, indices, num_bytes)
        if len(likelihoods) > 1:
            found["probability"] = probability(likelihoods, indices)
            found["probability_per_character"] = probability(likelihoods, indices, characters)
    return found


def _indices(correct: list[Any], answers: list[str]) -> list[int]:
    """The indices of the correct answers, which a task may give as texts; none for one that is no choice."""
    found = [answers.index(each) if each in answers else -1 for each in correct if isinstance(each, str)]
    found += [int(each) for each in correct if not isinstance(each, str)]
    return [index for index in found if 0 <= index < len(answers)]


def _number(sample: dict[str, Any], metric: str) -> float | None:
    value = sample.get(metric)
    return float(value) if isinstance(value, int | float) else None
