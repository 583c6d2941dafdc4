"""The numbers of the study (results.json) from its language models, and the tables of the README from these numbers."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from experiments.efficiency.crawl import SHARES
from experiments.lqs.findings import markdown_table
from qurating.artifacts.files import read_json
from qurating.artifacts.manifest import manifest
from qurating.metrics import student
from qurating.metrics.loss_curve import loss_curve
from qurating.metrics.token_efficiency import token_factor

if TYPE_CHECKING:
    from experiments.efficiency.study import Cell

Found = dict[str, Any]
Runs = Mapping[int, Found]  # what is known of a language model, by replicate

KINDS = tuple(SHARES)
MISSING = "(this part has not run)"
METHODS = {  # in the order of the tables; a name begins with that of the sweep in study.py
    "plain:prose_only": "prose only (oracle)",
    "lqs:top_k": "LQS, top-k",
    "lqs:pool": "LQS, random from the top 20 %",
    "pds:top_k": "PDS, top-k",
    "dsir_mean:top_k": "DSIR, mean per n-gram, top-k",
    "plain:dsir": "DSIR, sampled",
    "rated:top_k": "educational value, top-k",
    "rated:sample_temperature1": "educational value, τ = 1",
    "plain:sample_temperature2": "educational value, τ = 2",
    "plain:mix": "mix of four criteria, τ = 2",
    "plain:perplexity_lowest": "lowest perplexity",
    "plain:perplexity_highest": "highest perplexity",
    "half_rated:top_k": "educational value, top-k, half the tokens",
    "half_lqs:top_k": "LQS, top-k, half the tokens",
    "half_lqs:pool": "LQS, random from the top 20 %, half the tokens",
}
MEDIUM = {
    "medium_rated:prose_only": "prose only (oracle)",
    "medium_lqs:top_k": "LQS, top-k",
    "medium_lqs:pool": "LQS, random from the top 20 %",
    "medium_dsir:dsir": "DSIR, sampled",
    "medium_rated:top_k": "educational value, top-k",
    "medium_rated:sample_temperature1": "educational value, τ = 1",
}
DATA = {"uniform": "all", "top_k": "selected"}
ORDERS = {  # sweep and choices after the data -> (training, order)
    "constant_rate:shuffle": ("constant rate", "shuffled"),
    "constant_rate:folding": ("constant rate", "3 folds"),
    "large_batches:shuffle": ("batches of 8", "shuffled"),
    "large_batches:folding": ("batches of 8", "3 folds"),
    "folds:1": ("as in the tables above", "1 fold (sorted)"),
    "folds:2": ("as in the tables above", "2 folds"),
    "folded": ("as in the tables above", "3 folds"),
    "folds:8": ("as in the tables above", "8 folds"),
    "descending:1": ("as in the tables above", "1 fold, descending"),
    "descending:3": ("as in the tables above", "3 folds, descending"),
    "windows": ("as in the tables above", "3 folds, shuffled in windows of 64"),
}


def collect(cells: "Sequence[Cell]", budgets: Sequence[int]) -> Found:
    """Every number in the README; what needs a part that is not complete is left out.

    Args:
        budgets: of uniform, ascending; the second one is that of the methods.
    """
    runs: dict[str, dict[int, Found]] = defaultdict(dict)
    for cell in cells:
        runs[cell.method][cell.replicate] = measured(cell.folders)
    found: Found = {"budgets": list(budgets)}
    if cells:
        found["corpus"] = manifest(cells[0].folders["prepare_corpus"])["counts"]
    for size, prefix, methods in (("small", "", METHODS), ("medium", "medium_", MEDIUM)):
        uniform = [runs[f"{prefix}uniform:{budget}"] for budget in budgets]
        if all(uniform):
            known = {name: label for name, label in methods.items() if runs[name]}
            found[size] = compared({label: runs[name] for name, label in known.items()}, uniform)
    if "small" in found:
        uniform = [runs[f"uniform:{budget}"] for budget in budgets]
        found["pipeline"] = pipeline(runs, uniform)
        found["folding"] = folding(runs, {"uniform": uniform[1], "top_k": runs["lqs:top_k"]})
    return found


def measured(folders: Mapping[str, Path]) -> Found:
    """What is known of a language model: tokens, losses by kind in nats per token, shares of its text, its curve."""
    domains = read_json(folders["evaluate"] / "metrics.json")["domains"]
    rows_of = pq.read_table(folders["evaluate"] / "sequences.parquet", columns=["document_id"])["document_id"]
    table = pq.read_table(folders["train_lm"] / "curve.parquet")
    points = loss_curve(table, frozenset(rows_of.to_pylist()))
    subset = pq.read_table(folders["select"] / "subset.parquet", columns=["id", "length", "domain"])
    lengths, kinds = subset["length"].to_numpy(), np.array(subset["domain"].to_pylist())
    return {
        "tokens": manifest(folders["order"])["counts"]["tokens"],
        "parameters": manifest(folders["train_lm"])["counts"]["parameters"],
        "losses": {kind: domains[kind]["nats_per_token"] for kind in KINDS if kind in domains},
        "shares": {kind: float(lengths[kinds == kind].sum() / lengths.sum()) for kind in KINDS},
        "curve": [(point.tokens, point.domains.get("prose", math.nan)) for point in points],
        "ids": dict(zip(subset["id"].to_pylist(), lengths.tolist(), strict=True)),
    }


def compared(methods: Mapping[str, Runs], uniform: Sequence[Runs]) -> Found:
    """Each method against uniform of the same replicates: loss, factor, difference, price.

    Args:
        methods: the runs of each by its label.
        uniform: its runs at each budget, ascending; differences are from the second.
    """
    first = next(iter(uniform[1].values()))
    kinds = list(first["losses"])  # of which some text is held out
    found: Found = {
        "parameters": first["parameters"],
        "uniform": [
            {
                "tokens": mean([run["tokens"] for run in runs.values()]),
                "loss": [run["losses"]["prose"] for run in runs.values()],
            }
            for runs in uniform
        ],
        "uniform_losses": {kind: mean([run["losses"][kind] for run in uniform[1].values()]) for kind in kinds},
        "uniform_shares": {kind: mean([run["shares"][kind] for run in uniform[1].values()]) for kind in KINDS},
        "methods": {},
    }
    for label, runs in methods.items():
        base = uniform[0] if label.endswith("half the tokens") else uniform[1]
        pairs = [(run, base[replicate]) for replicate, run in runs.items() if replicate in base]
        found["methods"][label] = {
            "tokens": mean([run["tokens"] for run in runs.values()]),
            "loss": [run["losses"]["prose"] for run in runs.values()],
            "shares": {kind: mean([run["shares"][kind] for run in runs.values()]) for kind in KINDS},
            "factor": factors(runs, uniform),
            "difference": differences(pairs, "prose"),
            "price": {kind: differences(pairs, kind)["mean"] for kind in kinds},
        }
    tested = [each["difference"] for each in found["methods"].values() if each["difference"]["p"] is not None]
    for each, adjusted in zip(tested, student.holm([each["p"] for each in tested]), strict=True):
        each["p_holm"] = adjusted
    return found


def factors(runs: Runs, uniform: Sequence[Runs]) -> Found:
    """Tokens that uniform needs for the same loss on prose, divided by the method's, over replicates.

    The curve of a replicate is uniform's at all budgets. Nothing is extrapolated: where the loss is outside the curve,
    the end of the curve is a bound, `mean` is a bound as well (`bound` says `above`, `below`, or `both`), and there is
    no interval. `mean` is the geometric mean, the interval Student's of the logarithms.
    """
    each = []
    for replicate, run in runs.items():
        if not all(replicate in of for of in uniform):
            continue
        points = [(of[replicate]["tokens"], of[replicate]["losses"]["prose"]) for of in uniform]
        each.append(token_factor(run["losses"]["prose"], run["tokens"], *zip(*points, strict=True)))
    if not each:
        return {"each": [], "mean": None, "interval": None, "bound": ""}
    ends = [found.low or found.high for found in each]
    outside = {"below" if found.low == 0 else "above" for found in each if found.value is None}
    logs = [math.log(end) for end in ends]
    interval = None if outside else student.interval(logs)
    return {
        "each": ends,
        "mean": math.exp(mean(logs)),
        "interval": interval and [math.exp(end) for end in interval],
        "bound": "both" if len(outside) > 1 else next(iter(outside), ""),
    }


def differences(pairs: Sequence[tuple[Found, Found]], kind: str) -> Found:
    """Of the losses on a kind, this minus the other of the same replicate: the mean, its 95 % interval, p."""
    values = [run["losses"][kind] - other["losses"][kind] for run, other in pairs]
    return {
        "each": values,
        "mean": mean(values),
        "interval": student.interval(values),
        "p": student.p_value(values),
    }


def pipeline(runs: Mapping[str, Runs], uniform: Sequence[Runs]) -> Found:
    """How much raters and annotations vary: each of them with its replicates, and what it selects."""
    found: Found = {}
    for of, first, others in (
        ("educational value, top-k", "rated:top_k", ("raters:1", "raters:2")),
        ("LQS, top-k", "lqs:top_k", ("annotation_1", "annotation_2")),
    ):
        known = [runs[name] for name in (first, *others) if runs.get(name)]
        if len(known) < 2:
            continue
        replicates = sorted(set.intersection(*(set(each) for each in known)))
        losses = np.array([[each[r]["losses"]["prose"] for r in replicates] for each in known])
        found[of] = {
            "losses": losses.tolist(),
            "factors": [factors({r: each[r] for r in replicates}, uniform) for each in known],
            "shared": [shared(known[0][replicates[0]]["ids"], each[replicates[0]]["ids"]) for each in known],
            "sd_of_means": float(losses.mean(axis=1).std(ddof=1)),
            "sd_of_replicates": float(np.sqrt(losses.var(axis=1, ddof=1).mean())) if len(replicates) > 1 else None,
        }
    return found


def shared(one: Mapping[int, int], other: Mapping[int, int]) -> float:
    """The share of the tokens of a subset that another one has, too."""
    return sum(length for name, length in one.items() if name in other) / sum(one.values())


def folding(runs: Mapping[str, Runs], shuffled: Mapping[str, Runs]) -> Found:
    """Each order against the shuffled one of the same data and training: differences, and losses along the training."""
    found: Found = {}
    for data, shown in DATA.items():
        base = {"as in the tables above": shuffled[data]}
        rows_of: list[Found] = []
        if base["as in the tables above"]:
            rows_of.append(_order("as in the tables above", "shuffled", base["as in the tables above"], {}))
        for name, (training, order) in ORDERS.items():
            sweep, *choice = name.split(":")
            own = runs.get(":".join([sweep, data, *choice]), {})
            if not own:
                continue
            if order == "shuffled":
                base[training] = own
            rows_of.append(_order(training, order, own, {} if order == "shuffled" else base.get(training, {})))
        found[shown] = rows_of
    return found


def _order(training: str, order: str, runs: Runs, shuffled: Runs) -> Found:
    pairs = [(run, shuffled[replicate]) for replicate, run in runs.items() if replicate in shuffled]
    curves = np.array([[loss for _, loss in run["curve"]] for run in runs.values()])
    return {
        "training": training,
        "order": order,
        "loss": [run["losses"]["prose"] for run in runs.values()],
        "difference": differences(pairs, "prose") if pairs else None,
        "curve": {
            "tokens": [tokens for tokens, _ in next(iter(runs.values()))["curve"]],
            "mean": curves.mean(axis=0).tolist(),
            "sd": curves.std(axis=0, ddof=1).tolist() if len(curves) > 1 else None,
        },
    }


def mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def tables(found: Found) -> dict[str, str]:
    """The tables of the README in Markdown; those of parts that are not complete say so."""
    makers: dict[str, tuple[str, Callable[[Found], str]]] = {
        "corpus": ("corpus", _corpus_table),
        "small": ("small", _methods_table),
        "price_small": ("small", _price_table),
        "medium": ("medium", _methods_table),
        "price_medium": ("medium", _price_table),
        "pipeline": ("pipeline", _pipeline_table),
        "folding": ("folding", _folding_table),
        "cpu": ("cpu_seconds", _cpu_table),
    }
    return {name: make(found[key]) if found.get(key) else MISSING for name, (key, make) in makers.items()}


def _signed(value: float, form: str = "+.2f") -> str:
    return f"{value:{form}}".replace("-", "−")


def _between(interval: Sequence[float] | None, form: str) -> str:
    return "" if interval is None else f" [{_signed(interval[0], form)}, {_signed(interval[1], form)}]"


def _p(value: float | None) -> str:
    return "—" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _factor(found: Found) -> str:
    if found["mean"] is None:
        return "—"
    sign = {"above": "> ", "below": "< ", "both": "about ", "": ""}[found["bound"]]
    return f"{sign}{found['mean']:.2f}{'*' if found['bound'] else ''}{_between(found['interval'], '.2f')}"


def _corpus_table(counts: Found) -> str:
    held = counts["heldout_tokens_by_domain"]
    lines = [
        [kind, f"{tokens:,}", f"{tokens / counts['tokens']:.1%}", f"{held.get(kind, 0):,}"]
        for kind in KINDS
        if (tokens := counts["tokens_by_domain"].get(kind))
    ]
    total = ["all", f"{counts['tokens']:,}", "", f"{counts['heldout_tokens']:,}"]
    return markdown_table(["kind", "training tokens", "share", "held-out tokens"], [*lines, total])


def _methods_table(found: Found) -> str:
    lines = []
    for at in found["uniform"]:
        spread = f" ({np.std(at['loss'], ddof=1):.3f})" if len(at["loss"]) > 1 else ""
        prose = f"{found['uniform_shares']['prose']:.2f}"
        name = ["uniform", f"{at['tokens'] / 1000:.0f}K", str(len(at["loss"])), f"{mean(at['loss']):.3f}{spread}"]
        lines.append([*name, "—", "—", "—", "—", prose])
    for label, own in found["methods"].items():
        spread = f" ({np.std(own['loss'], ddof=1):.3f})" if len(own["loss"]) > 1 else ""
        difference = own["difference"]
        lines.append(
            [
                label,
                f"{own['tokens'] / 1000:.0f}K",
                str(len(own["loss"])),
                f"{mean(own['loss']):.3f}{spread}",
                _factor(own["factor"]),
                ", ".join(f"{each:.1f}" for each in own["factor"]["each"]),
                f"{_signed(difference['mean'])}{_between(difference['interval'], '+.2f')}",
                _p(difference.get("p_holm")),
                f"{own['shares']['prose']:.2f}",
            ]
        )
    head = ["method", "tokens", "seeds", "loss on prose (sd)", "factor", "each seed", "difference", "p (Holm)"]
    return markdown_table([*head, "share of prose"], lines)


def _price_table(found: Found) -> str:
    lines = [["uniform: loss", *(f"{loss:.2f}" for loss in found["uniform_losses"].values())]]
    lines += [
        [label, *map(_signed, own["price"].values())]
        for label, own in found["methods"].items()
        if not label.endswith("half the tokens")
    ]
    return markdown_table(["method", *found["uniform_losses"]], lines)


def _pipeline_table(found: Found) -> str:
    lines = [
        [
            of,
            ", ".join(f"{mean(losses):.3f}" for losses in own["losses"]),
            ", ".join(_factor(factor).partition(" [")[0] for factor in own["factors"]),
            ", ".join(f"{share:.0%}" for share in own["shared"][1:]),
            f"{own['sd_of_means']:.3f}",
            "—" if own["sd_of_replicates"] is None else f"{own['sd_of_replicates']:.3f}",
        ]
        for of, own in found.items()
    ]
    head = ["method", "loss with each", "factor with each", "tokens shared with the first", "sd between"]
    return markdown_table([*head, "sd over seeds"], lines)


def _folding_table(found: Found) -> str:
    lines = []
    for data, orders in found.items():
        for own in orders:
            difference = own["difference"]
            shown = (
                "—" if difference is None else _signed(difference["mean"]) + _between(difference["interval"], "+.2f")
            )
            lines.append(
                [data, own["training"], own["order"], str(len(own["loss"])), f"{mean(own['loss']):.3f}", shown]
            )
    return markdown_table(["data", "training", "order", "seeds", "loss on prose", "against shuffled"], lines)


def _cpu_table(seconds: Found) -> str:
    return markdown_table(["part", "CPU minutes"], [[part, f"{each / 60:.1f}"] for part, each in seconds.items()])
