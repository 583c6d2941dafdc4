"""Small raters with random weights, and the rating of a corpus by them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from qurating.models.rating_networks import LastTokenRater, LlamaRater, MaskedRater
from qurating.stages.judging.rate import rate

CRITERIA = ["clarity", "depth", "humour"]
SMALL: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 1500}
LLAMA = SMALL | {"intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 64}
NETWORKS = {
    "llama": (LLAMA, LlamaRater),
    "mistral": (LLAMA | {"sliding_window": 4096}, LlamaRater),
    "qwen2": (LLAMA, LlamaRater),
    "mistral, short-sighted": (LLAMA | {"sliding_window": 8}, LastTokenRater),
    "gpt2": ({"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 1500}, LastTokenRater),
    "bert": (SMALL | {"intermediate_size": 48}, MaskedRater),
}


def classifier(name: str = "llama", num_labels: int = 3) -> Any:
    torch.manual_seed(1)
    settings = NETWORKS[name][0] | {"num_labels": num_labels, "pad_token_id": 0}
    model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(name.split(",")[0], **settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # of a size at which a mistake shows
            parameter.mul_(4) if parameter.ndim > 1 else parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def save(model: Any, corpus: Path, folder: Path, criteria: list[str] | None = CRITERIA) -> Path:
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(corpus / "tokenizer").save_pretrained(folder)
    if criteria is not None:
        (folder / "criteria.json").write_text(json.dumps(criteria), encoding="utf-8")
    return folder


def rated(output: Path, corpus: Path, rater: Path | None, **changes: Any) -> dict[str, Any] | None:
    output.mkdir(exist_ok=True)
    settings: dict[str, Any] = {
        "from_pretrained": None,
        "criteria": CRITERIA,
        "max_tokens": 20,
        "tokens_per_batch": 200,
        "precision": "32-true",
        "compilation": "auto",
        "num_workers": 1,
        "shard": None,
        "num_shards": None,
        "accelerator": "cpu",
    }
    return rate(output=output, corpus=corpus, rater=rater, **(settings | changes))


def shards(folder: Path) -> list[Path]:
    return sorted((folder / "train").glob("*.parquet"))


def averages(folder: Path) -> np.ndarray:
    tables = [pq.read_table(file) for file in shards(folder)]
    return np.concatenate([np.stack([t[f"{name}_average"].to_numpy() for name in CRITERIA], 1) for t in tables])
