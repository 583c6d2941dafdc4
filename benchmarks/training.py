"""Tokens per CPU second and memory of training a language model, compared with the plainest PyTorch loop.

python benchmarks/training.py                       0.66M and 9.6M parameters, one thread: some minutes
taskset -c 0 python benchmarks/training.py --rounds 5 --sizes 0.66m                                  on one core
python benchmarks/training.py --sizes 0.66m --vocabulary-size 32000                  where the logits are what is large
python benchmarks/training.py --ours compiled                                         with model.compile=true

Both ways train the same Hugging Face model (Llama, random weights of one seed) on the same tokens with the same AdamW,
schedule and clipping. The plain way is a loop of forward, backward, clipping and step, with torch's defaults. Ours is
`training.fit` with the settings of `conf/trainer/cpu.yaml`. Each way runs in its own process, in turns; the best round
of each counts. Steady: without the start and the first five steps. The losses of the same steps are compared.
"""

import argparse
import functools
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SIZES = {  # with 2,048 tokens in the vocabulary
    "0.66m": {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 2, "num_attention_heads": 4},
    "9.6m": {"hidden_size": 320, "intermediate_size": 912, "num_hidden_layers": 7, "num_attention_heads": 5},
}
STEPS = {"0.66m": 60, "9.6m": 20}
OURS = ("ours", "compiled")
SEQUENCE_LENGTH, BATCH = 256, 8
WARM = 5  # steps that do not count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--vocabulary-size", type=int, default=2_048)
    parser.add_argument("--rounds", type=int, default=3, help="take turns so many times, and keep each way's best")
    parser.add_argument("--output", type=Path, help="also write the figures as JSON")
    parser.add_argument("--ours", choices=OURS, default="ours", help="ours, or ours with compiled layers")
    parser.add_argument("--one", nargs=3, metavar=("WAY", "SIZE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        way, size, folder = options.one
        print(json.dumps(measure(way, size, folder, options.vocabulary_size)))
        return
    found: dict[str, dict[str, Any]] = {}
    for size in options.sizes:
        best: dict[str, dict[str, Any]] = {}
        for _ in range(options.rounds):
            for way in ("plain", options.ours):
                figures = _in_a_process(way, size, options.vocabulary_size)
                if way not in best or figures["steady"] > best[way]["steady"]:
                    best[way] = figures
        found[size] = best
        _show(size, best)
    if options.output:
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _show(size: str, best: dict[str, dict[str, Any]]) -> None:
    plain, (named, ours) = best["plain"], next(item for item in best.items() if item[0] != "plain")
    for way, one in best.items():
        print(f"  {size:6} {way:8} {one['steady']:9,.0f} tokens per CPU second, {one['mb']:6,.0f} MB", flush=True)
    logged = [(plain["losses"][step], loss) for step, loss in ours["losses"].items()]  # ours logs every fifth
    off = max(abs(a - b) for a, b in logged)
    steady, memory = (ours[key] / plain[key] for key in ("steady", "mb"))
    print(
        f"  {size:6} {named} × plain: {steady:.2f} steady, {memory:.2f} memory; "
        f"losses differ by {off:.1e} at most, from {logged[0][0]:.2f} to {logged[-1][0]:.2f}",
        flush=True,
    )


def _in_a_process(way: str, size: str, vocabulary_size: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, __file__, "--one", way, size, folder, "--vocabulary-size", str(vocabulary_size)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(way: str, size: str, folder: str, vocabulary_size: int) -> dict[str, Any]:
    """Tokens per CPU second after the first steps, peak memory of the process, and the loss of each step."""
    import numpy as np
    import torch
    from transformers import logging

    sys.path.insert(0, str(ROOT))
    from qurating.models.networks import language_model

    logging.set_verbosity_error()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = language_model(
        "llama",
        vocabulary_size=vocabulary_size,
        eos_token_id=0,
        **SIZES[size],
        num_key_value_heads=SIZES[size]["num_attention_heads"],
        max_position_embeddings=1024,
        tie_word_embeddings=True,
    )
    # words of unequal frequency, so that there is something to learn
    drawn = np.random.default_rng(0).zipf(1.3, STEPS[size] * BATCH * SEQUENCE_LENGTH) % vocabulary_size
    np.save(Path(folder) / "tokens.npy", drawn.astype(np.int32))
    marks: list[float] = []
    train = plain if way == "plain" else functools.partial(ours, compiles=way == "compiled")
    losses = train(network, Path(folder), STEPS[size], lambda: marks.append(_seconds()))
    steady = (len(marks) - WARM) * BATCH * SEQUENCE_LENGTH / (marks[-1] - marks[WARM - 1])
    mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"steady": steady, "mb": mb, "losses": losses, "parameters": network.num_parameters()}


def plain(network: Any, folder: Path, steps: int, mark: Callable[[], None]) -> dict[int, float]:
    import numpy as np
    import torch
    from transformers import get_cosine_with_min_lr_schedule_with_warmup

    tokens = torch.from_numpy(np.load(folder / "tokens.npy").astype(np.int64)).view(steps, BATCH, SEQUENCE_LENGTH)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in network.parameters() if p.ndim >= 2]},
        {"params": [p for p in network.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=5e-3, betas=(0.9, 0.95), weight_decay=0.1)
    schedule = get_cosine_with_min_lr_schedule_with_warmup(optimizer, round(0.05 * steps), steps, min_lr_rate=0.1)
    losses = []
    network.train()
    for batch in tokens:
        loss = network(input_ids=batch, labels=batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        mark()
    return dict(enumerate(losses))


def ours(network: Any, folder: Path, steps: int, mark: Callable[[], None], compiles: bool) -> dict[int, float]:
    import csv

    import pytorch_lightning as pl
    import torch
    from transformers import get_cosine_with_min_lr_schedule_with_warmup

    from qurating.datamodules.tokens import TokenBlocks
    from qurating.models.language_model import LanguageModel
    from qurating.models.optimization import Optimization
    from qurating.training.fit import fit

    class Marks(pl.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            mark()

    optimizer = functools.partial(torch.optim.AdamW, lr=5e-3, betas=(0.9, 0.95), weight_decay=0.1)
    schedule = functools.partial(get_cosine_with_min_lr_schedule_with_warmup, min_lr_rate=0.1)
    trainer = functools.partial(
        pl.Trainer, accelerator="cpu", devices=1, precision="32-true", log_every_n_steps=5, enable_model_summary=False
    )
    fit(
        LanguageModel(network, Optimization(optimizer, schedule, warmup_fraction=0.05), seed=0, compiles=compiles),
        TokenBlocks(folder, SEQUENCE_LENGTH, BATCH, BATCH, network.config.vocab_size),
        trainer,
        folder,
        gradient_clip_norm=1.0,
        checkpoint_every_steps=10**9,
        name="lm",
        callbacks=[Marks()],
    )
    with open(folder / "metrics.csv", newline="", encoding="utf-8") as stream:
        return {int(row["step"]): float(row["train/loss"]) for row in csv.DictReader(stream)}


def _seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
