"""Whether a selection helped: the losses of models trained on subsets, over seeds, beside what checks found."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from qurating.analysis.tables import from_rows
from qurating.evaluation.curves import heldout_loss, training_loss
from qurating.evaluation.runs import COMPLETE, Run

_TAKEN = {
    "group": pa.int64(),
    "rank": pa.int64(),
    "method": pa.string(),
    "is_uniform": pa.bool_(),
    "state": pa.string(),
    "tokens": pa.int64(),
    "num_seeds": pa.int64(),
    "part": pa.string(),
    **{f"loss{end}": pa.float64() for end in ("", "_low", "_high")},
    "num_pairs": pa.int64(),
    **{f"difference{end}": pa.float64() for end in ("", "_low", "_high")},
    **{"p": pa.float64(), "p_holm": pa.float64()},
    **{f"token_factor{end}": pa.float64() for end in ("", "_low", "_high")},
    **{"token_factor_bound": pa.string(), "token_factor_from": pa.string()},
}  # columns of `methods.rows`, under their names
RESULTS = pa.schema(
    {
        "number": pa.int64(),
        **_TAKEN,
        "num_checked": pa.int64(),
        "near_duplicate_share": pa.float64(),
        "contaminated_share": pa.float64(),
    }
)
CURVES = pa.schema(
    {
        "number": pa.int64(),
        "method": pa.string(),
        "replicate": pa.string(),
        "kind": pa.string(),
        "tokens": pa.int64(),
        "nats_per_token": pa.float64(),
    }
)
Row = Mapping[str, Any]
_SHARES = {"near_duplicates": "near_duplicate_share", "contamination": "contaminated_share"}


def trained_on(found: Iterable[Run]) -> list[Path]:
    """The subsets that the models were trained on, each once; those of runs of unknown origin are left out."""
    subsets = (run.chain.get("check_subset") or run.chain.get("select") for run in found)
    return list(dict.fromkeys(subset.folder for subset in subsets if subset is not None))


def results(found: Sequence[Run], rows: Sequence[Row], checks: Sequence[Row]) -> pa.Table:
    """One row per method, as `methods.rows` has them, then one per run without a result (`RESULTS`).

    `number` is the place of the row, by which `curves` name it: methods of several budgets may have one name. The
    shares are of the tokens of its subset, the mean over its `num_checked` seeds whose subset was checked; without the
    sequences that the check has removed, if the model was trained on the rest.

    Args:
        found: the runs of the evaluations, see `runs.runs_in`.
        rows: of these, see `methods.rows`.
        checks: rows of the table `duplicates`.
    """
    of_subset = {check["subset"]: check for check in reversed(checks)}  # of several checks of one, the first
    by_source = {run.source: run for run in found}
    table = []
    for number, row in enumerate(rows):
        each = [_checked(by_source[name], of_subset) for name in row["evaluations"] if row["state"] == COMPLETE]
        known = [shares for shares in each if shares]
        table.append(
            (number, *(row[name] for name in _TAKEN), len(known), *(_mean(known, name) for name in _SHARES.values()))
        )
    return from_rows(table, RESULTS)


def _checked(run: Run, of_subset: Mapping[str, Row]) -> dict[str, float | None]:
    """The shares that a check found in the subset of a run; empty if it was not checked."""
    selected, rest = run.chain.get("select"), run.chain.get("check_subset")
    found = of_subset.get(selected.folder.name) if selected is not None else None
    if found is None:
        return {}
    removed = [] if rest is None else rest.manifest["config"].get("remove") or []
    # what is left of one reason when another one was removed is not known from the counts
    return {name: 0.0 if reason in removed else None if removed else found[name] for reason, name in _SHARES.items()}


def _mean(each: Sequence[Mapping[str, float | None]], name: str) -> float | None:
    values = [value for shares in each if (value := shares[name]) is not None]
    return sum(values) / len(values) if values else None


def curves(found: Sequence[Run], rows: Sequence[Row]) -> pa.Table:
    """The losses of every run with a result along its training, by tokens seen (`CURVES`).

    `kind` is heldout (on the documents, and the part, that the table of results is about) or training (a running mean
    over a fiftieth of the training; absent where a training did not record its tokens). `replicate` is the run's seed.

    Args:
        found, rows: as of `results`.
    """
    by_source = {run.source: run for run in found}
    table: list[tuple[Any, ...]] = []
    for number, row in enumerate(rows):
        for run in (by_source[name] for name in row["evaluations"] if row["state"] == COMPLETE):
            model = run.chain["train_lm"].folder
            known = number, row["method"], run.seed
            heldout = heldout_loss(model, run.chain["evaluate"].folder, run.part) or []
            table += ((*known, "heldout", point.tokens, point.nats_per_token) for point in heldout)
            training = training_loss(model)
            if training is not None and training.tokens is not None:
                pairs = zip(training.tokens.astype(int).tolist(), training.nats_per_token.tolist(), strict=True)
                table += ((*known, "training", *pair) for pair in pairs)
    return from_rows(table, CURVES)
