"""Tasks of lm-evaluation-harness on a tiny random model; nothing needs the network."""

import functools
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from sweep_example import tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from qurating.stages.comparison.evaluate_tasks import evaluate_tasks

needs_lm_eval = pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="needs the package lm_eval")

SETTINGS: dict[str, Any] = {
    "tasks": ["mmlu_dev_questions"],
    "include_path": None,
    "limit": 12,
    "on_too_long": "cut",
    "batch_size": 8,
    "precision": "32-true",
    "accelerator": "cpu",
    "fewshot_seed": 1234,
}


@functools.cache
def _tokenizer() -> Any:
    return tokenizer()


def random_model(folder: Path, context: int = 256) -> Path:
    """A tiny Llama whose random weights give answers clearly different likelihoods."""
    made = _tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(made), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=context, initializer_range=0.3, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


def run(model: Path, output: Path, **changed: Any) -> dict[str, Any]:
    output.mkdir(exist_ok=True)
    return evaluate_tasks(output=output, language_model=model, **(SETTINGS | changed))


_CHOICE = {
    "output_type": "multiple_choice",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "answer",
    "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
}
# answers of unlike lengths, so that the likelihood per character chooses others
_QUESTIONS = [
    {"question": f"What is {n} and {n + 1}?", "choices": [str(2 * n + 1), f"it is {2 * n + 7}, I think", "é" * (n + 1)],
     "answer": n % 3}
    for n in range(9)
]  # fmt: skip


def task_folder(folder: Path) -> Path:
    """A folder of task files: two of choices and their group, one of other kinds each, and one that runs code."""
    folder.mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in _QUESTIONS)
    (folder / "questions.jsonl").write_text(lines)
    (folder / "few.jsonl").write_text("".join(lines.splitlines(keepends=True)[:4]))
    tasks: dict[str, dict[str, Any]] = {
        "many_sums": _CHOICE,
        "few_sums": _CHOICE,
        "greedy_sums": {
            "output_type": "loglikelihood",
            "doc_to_text": "{{question}}",
            "doc_to_target": "{{' ' + choices[answer]}}",
            "metric_list": [{"metric": "acc"}],
        },
        "written_sums": {
            "output_type": "generate_until",
            "doc_to_text": "{{question}}",
            "doc_to_target": "{{choices[0]}}",
            "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4},
            "metric_list": [{"metric": "exact_match"}],
        },
        "running_sums": _CHOICE | {"unsafe_code": True},
    }
    for name, settings in tasks.items():
        data = folder / ("few.jsonl" if name == "few_sums" else "questions.jsonl")
        data_files = {"test": str(data), "train": str(data)}
        source = {"data_files": data_files, "cache_dir": str(folder / "cache")}
        common = {"task": name, "dataset_path": "json", "dataset_kwargs": source}
        splits = {"test_split": "test", "fewshot_split": "train"}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(common | splits | settings))
    group = {"group": "sums", "task": ["many_sums", "few_sums"], "aggregate_metric_list": [{"metric": "acc"}]}
    (folder / "sums.yaml").write_text(yaml.safe_dump(group))
    return folder
