"""A small annotation for the tests: real text, a language model with random weights, and scores by a slow loop."""

import functools
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytorch_lightning as pl
import torch
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from qurating.artifacts.files import write_table
from qurating.artifacts.seeds import seed_for
from qurating.lqs import gradient_passes
from qurating.lqs.samples import draw_batches
from qurating.stages.lqs.annotate_proxy import annotate_proxy

VOCABULARY = 300
SIZES: dict[str, dict[str, Any]] = {
    "llama": {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32,
    },
    "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32},
}
SETTINGS: dict[str, Any] = {
    "model": None,
    "num_steps": 6,
    "learning_rate": 0.5,
    "batch_size_sequences": 3,
    "contribution_interval": 2,
    "denominator": "next_visited",
    "hessian": "exact",
    "trajectory": "recompute",
    "precision": "32-true",
    "micro_batch_size": 8,
    "layer_checkpointing": False,
    "on_bad_sample": "stop",
    "trainer": functools.partial(pl.Trainer, accelerator="cpu", devices=1, num_nodes=1),
    "seed": 7,
}


def language_model(model_type: str = "llama", **settings: Any) -> PreTrainedModel:
    """With weights large enough that its gradients are not all alike."""
    given = SIZES.get(model_type, {}) | settings
    ends = dict.fromkeys(("bos_token_id", "eos_token_id"), 0) | {"pad_token_id": None}
    config = AutoConfig.for_model(model_type, vocab_size=VOCABULARY, **ends, **given)
    made = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "norm" not in name and "ln_" not in name:
                parameter.mul_(4)
    return made


def make_inputs(folder: Path, num_proxy: int = 18, network: PreTrainedModel | None = None) -> dict[str, Path]:
    """A corpus in two shards, its proxy set in random order, a target set with prompts that are no targets, a model."""
    paragraphs = [part for topic in topics.values() for part in topic.split("\n\n") if len(part) > 40]
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(paragraphs, vocab_size=VOCABULARY, special_tokens=["<|endoftext|>"])
    draw = np.random.default_rng(0)
    chosen = draw.choice(len(paragraphs), num_proxy + 15, replace=False)
    texts = [paragraphs[i] for i in chosen]
    # of every length, the shortest with a single target
    ids = [bpe.encode(text).ids[: draw.integers(2, 25)] for text in texts]
    numbers = np.unique(draw.integers(1, 2**62, 1000))[: num_proxy + 10]
    draw.shuffle(numbers)
    rows = [
        {
            "id": int(number),
            "document_id": f"topics/{chosen[i]}",
            "domain": ("long", "short")[len(ids[i]) < 12],
            "input_ids": ids[i],
            "length": len(ids[i]),
        }
        for i, number in enumerate(numbers)
    ]
    half = len(rows) // 2
    schema = pa.schema(
        [
            ("id", pa.int64()),
            ("document_id", pa.string()),
            ("domain", pa.string()),
            ("input_ids", pa.list_(pa.int32())),
            ("length", pa.int32()),
        ]
    )
    index = []
    for shard, part in enumerate((rows[:half], rows[half:])):
        write_table(folder / "corpus/train" / f"{shard:05}.parquet", pa.Table.from_pylist(part, schema))
        index += [
            {key: row[key] for key in ("id", "length", "domain")} | {"shard": shard, "row": number}
            for number, row in enumerate(part)
        ]
    drawn = [index[i] for i in draw.choice(len(index), num_proxy, replace=False)]
    write_table(folder / "proxy/proxy.parquet", pa.Table.from_pylist(drawn))
    targets = [
        {
            "document_id": f"target/{i}",
            "text": texts[i],
            "input_ids": ids[i],
            "labels": [-100] * (i % 3) + ids[i][i % 3 :],
        }
        for i in range(len(rows), len(texts))
        if len(ids[i]) > 3
    ]
    of_lists = {"input_ids": pa.list_(pa.int32()), "labels": pa.list_(pa.int32())}
    schema = pa.schema([("document_id", pa.string()), ("text", pa.string()), *of_lists.items()])
    write_table(folder / "target/target.parquet", pa.Table.from_pylist(targets, schema))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token="<|endoftext|>")
    tokenizer.save_pretrained(folder / "corpus/tokenizer")
    tokenizer.save_pretrained(folder / "lm")
    (network or language_model()).save_pretrained(folder / "lm")
    return {name: folder / name for name in ("corpus", "proxy", "target")} | {"proxy_lm": folder / "lm"}


def annotate(output: Path, inputs: dict[str, Any], block: int = 6, **changes: Any) -> dict[str, Any]:
    """The stage, with blocks of few samples."""
    output.mkdir(parents=True, exist_ok=True)
    before, gradient_passes.BLOCK = gradient_passes.BLOCK, block
    try:
        return annotate_proxy(output=output, **inputs, **(SETTINGS | changes))
    finally:
        gradient_passes.BLOCK = before


def proxy_sequences(inputs: dict[str, Path]) -> list[dict[str, Any]]:
    """The rows of the corpus that the proxy set names, in its order."""
    shards = [pq.read_table(file).to_pylist() for file in sorted((inputs["corpus"] / "train").glob("*.parquet"))]
    return [shards[row["shard"]][row["row"]] for row in pq.read_table(inputs["proxy"] / "proxy.parquet").to_pylist()]


class SlowLoop:
    """Eq. 8 and 9 to the letter, in float64, a sample at a time with the loss of transformers; the co-state is
    autograd's gradient of Σ_{s ≥ t} J(θ_s), through the unrolled training.

    Args:
        left_out: ids of the proxy sequences that no batch has.
    """

    def __init__(self, inputs: dict[str, Path], left_out: frozenset[int] = frozenset(), **changes: Any) -> None:
        settings = SETTINGS | changes
        self.settings = settings
        self.model = AutoModelForCausalLM.from_pretrained(inputs["proxy_lm"], dtype=torch.float64).eval()
        self.proxy = proxy_sequences(inputs)
        self.target = pq.read_table(inputs["target"] / "target.parquet").to_pylist()
        self.num_steps: int = settings["num_steps"]
        rate: float = settings["learning_rate"]
        seed = seed_for(settings["seed"], "annotate_proxy", "batches")
        batches = draw_batches(np.arange(len(self.proxy)), self.num_steps, settings["batch_size_sequences"], seed)
        with sdpa_kernel(SDPBackend.MATH):
            state = {name: p.detach().clone().requires_grad_() for name, p in self.model.named_parameters()}
            self.states, losses = [state], list[Tensor]()
            self.training_losses = []
            for t in range(self.num_steps):
                losses.append(self.mean_loss(self.target, self.states[t]))
                batch = [self.proxy[i] for i in batches[t] if self.proxy[i]["id"] not in left_out]
                loss = self.mean_loss(batch, self.states[t])
                self.training_losses.append(loss.item())
                slopes = torch.autograd.grad(loss, list(self.states[t].values()), create_graph=True)
                moved = {
                    name: value - rate * slope
                    for (name, value), slope in zip(self.states[t].items(), slopes, strict=True)
                }
                self.states.append(moved)
            losses.append(self.mean_loss(self.target, self.states[-1]))
            self.target_losses = [loss.item() for loss in losses]
            # λ_t for t = 1 … T, index 0 unused
            self.costates = [
                torch.autograd.grad(torch.stack(losses[t:]).sum(), list(self.states[t].values()), retain_graph=True)
                for t in range(self.num_steps + 1)
            ]
        self.gradient = functools.cache(self._gradient)

    def mean_loss(self, rows: list[dict[str, Any]], state: dict[str, Tensor]) -> Tensor:
        return torch.stack([self.loss(row, state) for row in rows]).mean()

    def loss(self, row: dict[str, Any], state: dict[str, Tensor]) -> Tensor:
        ids = torch.tensor([row["input_ids"]])
        labels = torch.tensor([row.get("labels", row["input_ids"])])
        return functional_call(self.model, state, kwargs={"input_ids": ids, "labels": labels, "use_cache": False}).loss

    def _gradient(self, n: int, t: int) -> Tensor:
        """∇ℓ(x_n, θ_t), all parameters in one vector."""
        state = {name: value.detach().requires_grad_() for name, value in self.states[t].items()}
        slopes = torch.autograd.grad(self.loss(self.proxy[n], state), list(state.values()))
        return torch.cat([slope.flatten() for slope in slopes])

    def norm(self, n: int, t: int) -> float:
        return self.gradient(n, t).norm().item()

    def dot(self, n: int, t: int) -> float:
        """⟨λ_{t+1}, ∇ℓ(x_n, θ_t)⟩."""
        costate = torch.cat([part.flatten() for part in self.costates[t + 1]])
        return (costate @ self.gradient(n, t)).item()

    def score(self, n: int, interval: int, denominator: str) -> float:
        total = 0.0
        t = interval
        while t <= self.num_steps - 1:
            at = {"next_visited": min(t + interval, self.num_steps), "next_step": t + 1, "same_step": t, "none": None}
            if denominator == "next_visited" and t + interval > self.num_steps - 1:
                at["next_visited"] = self.num_steps
            step = at[denominator]
            total += self.dot(n, t) / (1 if step is None else self.norm(n, step))
            t += interval
        return total
