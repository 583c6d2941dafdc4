"""The evaluation of a tiny model on real text."""

import shutil
from pathlib import Path

import torch
from sweep_example import PIECE, corpus
from transformers import LlamaConfig, LlamaForCausalLM

from qurating.stages.comparison.evaluate import evaluate

SETTINGS = {"batch_size_sequences": 7, "precision": "32-true", "accelerator": "cpu"}


def corpus_and_model(root: Path) -> tuple[Path, Path]:
    """Real text, and a tiny Llama with random weights that reads its tokens."""
    texts = corpus(root / "corpus")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=600, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=PIECE, initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(root / "lm")
    for file in (texts / "tokenizer").iterdir():
        shutil.copy(file, root / "lm")
    return texts, root / "lm"


def run(made: tuple[Path, Path], output: Path, **changed: object) -> dict:
    output.mkdir()
    given = {"corpus": made[0], "language_model": made[1]} | SETTINGS | changed
    return evaluate(output=output, **given)  # type: ignore[arg-type]
