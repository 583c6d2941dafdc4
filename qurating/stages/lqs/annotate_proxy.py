"""Score the sequences of the proxy set by the effect that training on them has on the loss of the target set."""

import contextlib
import csv
import functools
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytorch_lightning as pl
import torch
from lightning_fabric import Fabric

from qurating.artifacts.files import read_json, write_json, write_table
from qurating.artifacts.seeds import seed_for
from qurating.corpus.sequences import read_sequences
from qurating.lqs import optimal_control
from qurating.lqs.annotation import annotate, annotation_table, check_settings
from qurating.lqs.costate import Costate
from qurating.lqs.gradient_passes import GradientPasses
from qurating.lqs.proxy_model import check_layers, check_samples, load
from qurating.lqs.proxy_training import ProxyTraining
from qurating.lqs.samples import BadSamples, Samples, draw_batches
from qurating.lqs.trajectory import Trajectory
from qurating.runtime.errors import StageError


def annotate_proxy(
    *,
    output: Path,
    corpus: Path,
    proxy: Path,
    target: Path,
    proxy_lm: Path | None,
    model: str | None,
    num_steps: int,
    learning_rate: float,
    batch_size_sequences: int,
    contribution_interval: int,
    denominator: str,
    hessian: str,
    trajectory: str,
    precision: str,
    micro_batch_size: int,
    layer_checkpointing: bool,
    on_bad_sample: str,
    trainer: functools.partial[pl.Trainer],
    seed: int,
) -> dict[str, Any]:
    """Write `annotation.parquet`, one row per proxy sequence with a score, in the order of the proxy set.

    Columns: `id`, `shard`, `row`, `length`, `domain`; for each visited step, first to last, `dots`
    ⟨λ_{t+1}, ∇ℓ(x_n, θ_t)⟩, `norms` ‖∇ℓ(x_n, θ_t)‖ and `denominators`, which divide the dot products; `lqs`, the
    sum of dots / denominators (`qurating.lqs.optimal_control`). Also `trajectory.csv` (step, training loss, target
    loss), `summary.json` (the returned counts) and `left_out.jsonl`, if any sample is left out.

    A run resumes from what an interrupted one left in `output/working`, and deletes it at the end. In a distributed run
    every process calls this with the same `output`; the first writes and returns counts.

    Args:
        proxy_lm: the folder of the proxy model; if None, `model` names one at the Hub or by a path.
        num_steps: T of the proxy model's training.
        learning_rate: η, constant.
        batch_size_sequences: of a training step.
        contribution_interval: k; the sum is over steps k, 2k, … ≤ T − 1.
        denominator: see `optimal_control.denominator_steps`.
        hessian: exact, finite_differences or none.
        trajectory: how the states are stored, see `qurating.lqs.trajectory`.
        precision: 32-true or bf16-mixed, of the gradients of proxy and target samples. The training, the Hessian
            products and all sums are in float32 or float64.
        micro_batch_size: sequences per forward pass.
        layer_checkpointing: less memory, a third more time.
        on_bad_sample: stop at a sample that has no target, or whose gradient is zero or not finite; or skip it.
        trainer: only its accelerator, devices, num_nodes and strategy are used.

    Raises:
        StageError: settings or inputs that do not fit together, a bad sample, too little memory; says what to change.
    """
    visited = check_settings(
        num_steps=num_steps,
        contribution_interval=contribution_interval,
        denominator=denominator,
        hessian=hessian,
        trajectory=trajectory,
        precision=precision,
        on_bad_sample=on_bad_sample,
    )
    fabric = _launched(trainer)
    if (output / "summary.json").is_file():
        return _cleared(output) if fabric.is_global_zero else {}

    network = load(proxy_lm, model, corpus).to(fabric.device).eval()
    index = pq.read_table(proxy / "proxy.parquet")
    samples = Samples("proxy sequence", read_sequences(corpus, index, ["id", "document_id", "input_ids"]))
    targets = Samples("target example", pq.read_table(target / "target.parquet"))
    check_samples(network, samples, targets)
    bad = BadSamples(output / "working" / "left_out", on_bad_sample)
    usable = samples.has_target()
    for group, has_target in ((samples, usable), (targets, targets.has_target())):
        bad.refuse(group, np.flatnonzero(~has_target).tolist(), "it has no token to predict from another")
    if not usable.any() or not targets.has_target().any():
        raise StageError(
            f"the proxy set or the target set has no sequence with a token to predict: the reasons are in {bad.folder}"
        )

    batches = draw_batches(
        np.flatnonzero(usable), num_steps, batch_size_sequences, seed_for(seed, "annotate_proxy", "batches")
    )
    training = ProxyTraining(network, samples, batches, learning_rate, micro_batch_size, bad)
    autocast = functools.partial(_autocast, precision, fabric.device.type)
    denominators = optimal_control.denominator_steps(visited, num_steps, denominator)
    with _explained_out_of_memory(micro_batch_size):
        check_layers(network, samples.batch(np.flatnonzero(usable)[:1], fabric.device))
        states = Trajectory(
            output / "working/trajectory",
            trajectory,
            network,
            num_steps,
            training.step,
            writes=fabric.is_global_zero,
            barrier=fabric.barrier,
        )
        passes = GradientPasses(
            output / "working/passes",
            network,
            samples,
            usable,
            bad,
            micro_batch_size=micro_batch_size,
            layer_checkpointing=layer_checkpointing,
            precision=autocast,
            process=fabric.global_rank,
            num_processes=fabric.world_size,
        )
        costate = Costate(
            output / "working/costate.safetensors",
            training,
            targets,
            fabric,
            hessian=hessian,
            micro_batch_size=micro_batch_size,
            bad=bad,
            precision=autocast,
        )
        training_losses = annotate(training, states, costate, passes, visited, denominators)
    if not fabric.is_global_zero:
        return {}
    kept = usable.copy()
    kept[[row["index"] for row in bad.left_out() if row["kind"] == samples.kind]] = False
    if not kept.any():
        raise StageError(f"every proxy sequence was left out, such as {bad.left_out()[0]}")
    table = annotation_table(index, passes, visited, denominators, kept)
    write_table(output / "annotation.parquet", table)
    _write_losses(output / "trajectory.csv", training_losses, costate.target_losses)
    bad.write(output / "left_out.jsonl")
    lqs = table["lqs"].to_numpy()
    write_json(
        output / "summary.json",
        {
            "sequences": len(lqs),
            "left_out": len(bad.left_out()),
            "steps": num_steps,
            "visited_steps": visited,
            "target_loss_before": costate.target_losses[0],
            "target_loss_after": costate.target_losses[num_steps],
            "lqs_mean": float(lqs.mean()),
            "lqs_std": float(lqs.std()),
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
        },
    )
    return _cleared(output)


def _cleared(output: Path) -> dict[str, Any]:
    """Delete the working files, and return the counts; `summary.json` is the last result to be written."""
    if (output / "working").exists():
        shutil.rmtree(output / "working")
    counts: dict[str, Any] = read_json(output / "summary.json")
    return counts


def _launched(trainer: functools.partial[pl.Trainer]) -> Fabric:
    """The device of this process, and the connection to the others of a distributed run."""
    chosen = {key: trainer.keywords[key] for key in ("accelerator", "devices", "num_nodes") if key in trainer.keywords}
    strategy = trainer.keywords.get("strategy", "auto")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*`srun` command is available.*")
        fabric = Fabric(**chosen, strategy=strategy if isinstance(strategy, str) else "auto")
    fabric.launch()
    torch.set_float32_matmul_precision("highest")  # no TensorFloat-32, whatever the environment says
    return fabric


def _autocast(precision: str, device_type: str) -> torch.autocast:
    return torch.autocast(device_type, torch.bfloat16, enabled=precision == "bf16-mixed")


@contextlib.contextmanager
def _explained_out_of_memory(micro_batch_size: int) -> Iterator[None]:
    """Turn a lack of memory into a StageError that says which setting to lower."""
    try:
        yield
    except RuntimeError as error:
        # the CPU's allocator and cuBLAS have no exception type of their own
        is_allocation = "t allocate memory" in str(error) or "STATUS_ALLOC_FAILED" in str(error)
        if not (is_allocation or isinstance(error, torch.OutOfMemoryError)):
            raise
        raise StageError(
            f"out of memory ({str(error).splitlines()[0]}): lower annotation.micro_batch_size (now "
            f"{micro_batch_size}), or set annotation.layer_checkpointing=true; if the Hessian does not fit, set "
            "annotation.hessian=finite_differences"
        ) from error


def _write_losses(path: Path, training_losses: list[float], target_losses: Mapping[int, float]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["step", "training_loss", "target_loss"])
        for step, loss in enumerate([*training_losses, ""]):
            writer.writerow([step, loss, target_losses[step]])
