"""A complete annotation: forwards along the training to θ_T, then backwards with the co-state."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tqdm import tqdm

from qurating.lqs import optimal_control
from qurating.lqs.costate import FORWARD_COST, Costate
from qurating.lqs.gradient_passes import GradientPasses
from qurating.lqs.optimal_control import Scores
from qurating.lqs.proxy_training import ProxyTraining
from qurating.lqs.trajectory import KINDS, Trajectory
from qurating.runtime.errors import StageError

PLACE = ["id", "shard", "row", "length", "domain"]  # of a sequence, in the columns of an annotation
RESCORED = ("same_step", "none")  # denominators that any annotation has the norms for
CHECKED = ("num_steps", "contribution_interval", "denominator", "hessian", "trajectory", "precision", "on_bad_sample")


def check_settings(
    *,
    num_steps: int,
    contribution_interval: int,
    denominator: str,
    hessian: str,
    trajectory: str,
    precision: str,
    on_bad_sample: str,
) -> list[int]:
    """The visited steps; raises StageError for an unknown choice, or an interval that visits no step."""
    choices = {
        "denominator": (denominator, optimal_control.DENOMINATORS),
        "hessian": (hessian, tuple(optimal_control.HESSIANS)),
        "trajectory": (trajectory, KINDS),
        "precision": (precision, ("32-true", "bf16-mixed")),
        "on_bad_sample": (on_bad_sample, ("stop", "skip")),
    }
    for name, (value, known) in choices.items():
        if value not in known:
            raise StageError(f"annotation.{name}={value} is none of {', '.join(known)}")
    try:
        return optimal_control.visited_steps(num_steps, contribution_interval)
    except ValueError as error:
        raise StageError(f"{error}: lower annotation.contribution_interval, or raise annotation.num_steps") from error


def annotate(
    training: ProxyTraining,
    trajectory: Trajectory,
    costate: Costate,
    passes: GradientPasses,
    visited: Sequence[int],
    denominators: Sequence[int],
) -> list[float]:
    """Compute the missing parts of an annotation; every process of a distributed run calls this.

    Args:
        visited: steps t of the score's sum, ascending; the passes there compute dot products with λ_{t+1}.
        denominators: steps whose norms divide the terms; at those that are not visited, passes compute norms alone.

    Returns:
        the training loss L_t(θ_t) of every step (T,). `costate.target_losses` holds J of every step; the files of
        `passes` hold the norms and dot products.
    """
    passed = {*visited, *denominators}
    total, remaining = _work(training, trajectory, costate, passes, visited[0], passed)
    with tqdm(
        desc="annotating",
        total=total,
        initial=total - remaining,
        unit="sample",
        unit_scale=True,
        mininterval=0.5,
        disable=not costate.fabric.is_global_zero,
    ) as progress:
        training.advance = costate.advance = passes.advance = progress.update
        training_losses = trajectory.run()
        costate.fabric.barrier()  # one process writes the states, all read them
        for t in range(costate.step - 1, -1, -1):
            needs_costate = t > visited[0]  # λ_{t+1} is used at visited steps only
            if t in passed or t not in costate.target_losses:
                trajectory.go_to(t)
            if t in passed:
                passes.run(t, costate.vector if t in visited else None)
            if needs_costate:
                costate.step_back()
            else:
                costate.measure_target(t)
        costate.fabric.barrier()  # every block is on disk now
    return training_losses


def _work(
    training: ProxyTraining,
    trajectory: Trajectory,
    costate: Costate,
    passes: GradientPasses,
    first_visited: int,
    passed: set[int],
) -> tuple[float, float]:
    """The total and the remaining work of this process, in forward and backward passes of one sample."""
    batch_size = training.batches.shape[1]
    num_steps, num_target = trajectory.num_steps, len(costate.own_target)

    def backwards(t: int) -> float:
        """From λ_{t+1} to the end, without the gradient passes."""
        recomputed = trajectory.recomputed_steps(t) * batch_size
        products = (min(t, num_steps - 1) - first_visited) * costate.product_cost  # θ_T needs no product
        return recomputed + (t - first_visited) * num_target + products

    measured = (first_visited + 1) * num_target * FORWARD_COST
    total = num_steps * batch_size + backwards(num_steps) + measured
    total += len(passed) * passes.num_samples(passes.own)
    remaining = (num_steps - trajectory.steps_done()) * batch_size + backwards(costate.step - 1) + measured
    remaining += sum(passes.num_samples(passes.missing(t)) for t in passed)
    return total, remaining


def annotation_table(
    index: pa.Table,
    passes: GradientPasses,
    visited: Sequence[int],
    denominators: Sequence[int],
    kept: NDArray[np.bool_],
) -> pa.Table:
    """The kept rows of the proxy set's index with their `dots`, `norms`, `denominators` and score `lqs`.

    Args:
        index: of all N proxy samples; its columns `id`, `shard`, `row`, `length`, `domain` are copied.
        visited, denominators: as for `annotate`: one denominator per visited step, or none (then the divisor is 1).
        kept: (N,), which samples get a row.
    """
    found = {t: passes.read(t) for t in {*visited, *denominators}}
    norms = np.stack([found[t][0] for t in visited])[:, kept]
    dots = np.stack([found[t][1] for t in visited])[:, kept]
    divisors = np.stack([found[t][0] for t in denominators])[:, kept] if denominators else np.ones_like(dots)
    rows = pa.table({name: index[name].filter(pa.array(kept)) for name in PLACE})
    return _scored(rows, dots, norms, divisors)


def rescored(annotation: pa.Table, denominator: str) -> pa.Table:
    """An annotation's table with another denominator, of those that need no norm at another step.

    It is what `annotation_table` gives for this denominator, to the bit.

    Args:
        annotation: N rows, by `annotation_table`.
        denominator: one of `RESCORED`; raises ValueError for another one.
    """
    if denominator not in RESCORED:
        raise ValueError(f"denominator {denominator!r} is none of {', '.join(RESCORED)}")
    dots, norms = (
        annotation[name].combine_chunks().flatten().to_numpy().reshape(len(annotation), -1).T
        for name in ("dots", "norms")
    )
    return _scored(annotation.select(PLACE), dots, norms, norms if denominator == "same_step" else np.ones_like(dots))


def _scored(rows: pa.Table, dots: Scores, norms: Scores, divisors: Scores) -> pa.Table:
    """Rows (N) with the columns of an annotation from arrays (steps, N)."""
    offsets = pa.array(np.arange(0, dots.size + 1, len(dots)), pa.int32())
    for name, values in (("dots", dots), ("norms", norms), ("denominators", divisors)):
        rows = rows.append_column(name, pa.ListArray.from_arrays(offsets, pa.array(values.T.ravel())))
    return rows.append_column("lqs", pa.array(optimal_control.contributions(dots, divisors)))
