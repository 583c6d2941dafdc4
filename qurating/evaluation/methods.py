"""Methods of selecting and ordering side by side: each over its seeds, and paired with uniform of the same seeds."""

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from qurating.artifacts.ancestry import Made
from qurating.evaluation import budget_factors, papers, parts, task_columns, token_factors
from qurating.evaluation.comparison import Cell, with_distinct_names
from qurating.evaluation.runs import COMPLETE, Run
from qurating.metrics import student

EQUAL_BUDGETS = 0.01  # numbers of selected tokens that differ by no more count as one budget
_MEASURES = {"loss": "nats_per_token", "perplexity": "perplexity", "bits_per_byte": "bits_per_byte"}
# The columns of the table, and what they hold.
COLUMNS = {
    **{
        "group": int,
        "rank": int,
        "method": str,
        "state": str,
        "model_type": str,
        "parameters": int,
        "corpus": str,
        "tokens": int,
    },
    **{"seeds": list, "num_seeds": int},
    **{f"{measure}{end}": float for measure in _MEASURES for end in ("", "_low", "_high")},
    **{"part": str, "heldout": str, "num_documents": int, "num_heldout_tokens": int, "is_uniform": bool},
    **{"reference": str, "num_pairs": int, "difference": float, "difference_low": float, "difference_high": float},
    **{"p": float, "p_holm": float, "token_factor": float, "token_factor_low": float, "token_factor_high": float},
    **{"token_factor_bound": str, "token_factor_from": str, "elsewhere": dict},
    **task_columns.COLUMNS,
    **{f"paper_{measure}": float for measure in papers.MEASURES},
    **{"paper": str, "notes": list, "labels": list, "evaluations": list},
}


@dataclass(frozen=True, eq=False)
class Method:
    """Complete runs that differ in their seeds alone, sorted by seed; `documents` has the held-out set of each."""

    runs: Sequence[Run]
    documents: Sequence[Hashable]
    notes: Sequence[str] = ()

    @property
    def chain(self) -> Mapping[str, Made]:
        """What the first run is made of; of the others only seeds and fingerprints differ."""
        return self.runs[0].chain

    @property
    def trained(self) -> tuple[str, str]:
        """Equal for language models of one architecture, optimisation and corpus."""
        model = self.chain["train_lm"]
        return json.dumps(model.settings, sort_keys=True), model.inputs["corpus"].method

    @property
    def tokens(self) -> float:
        """Tokens of the ordered subset, the mean over the runs."""
        return sum(_tokens(run) or math.nan for run in self.runs) / len(self.runs)


def rows(runs: Sequence[Run], tasks: str = "") -> list[dict[str, Any]]:
    """The table: one row per method, best first in each group that can be compared, then one per run without a result.

    Keys of a row, None where unknown: group (rows of one group can be ranked: one model, corpus and held-out set, one
    uniform), rank in it by loss, method, state, model_type, parameters, corpus, tokens, seeds (list of text),
    num_seeds; loss (nats per token), perplexity, bits_per_byte, each the mean over seeds with `_low` and `_high` of its
    95 % interval; part (see `runs.Run`); heldout (a letter for each set of documents), num_documents,
    num_heldout_tokens; is_uniform, reference (the uniform row), num_pairs, difference (of the loss, this minus uniform
    of the same seed) with `_low` and `_high`, p, p_holm; token_factor with `_low`, `_high`, `_bound` and `_from`
    (`budgets`, see `budget_factors.compared`, or `curve`, see `token_factors.compared`); elsewhere (part of the
    held-out text -> difference of the loss from uniform there, None without pairs); tasks, num_tasks, task_* (see
    `task_columns`); paper and paper_* (see `papers`); notes, labels, evaluations, task_results (lists of text).

    Args:
        runs: see `runs.find_runs`.
        tasks: the name of the set of tasks to show; empty: the one that most runs have.
    """
    methods = _methods([run for run in runs if run.state == COMPLETE])
    found = [_row(method, name) for method, name in zip(methods, _names(methods), strict=True)]
    shown = task_columns.most_common([run.tasks for method in methods for run in method.runs], tasks)
    for method, row in zip(methods, found, strict=True):
        on_tasks, said = task_columns.columns([run.tasks for run in method.runs], shown)
        row |= on_tasks | {"notes": [*row["notes"], *(note for note in said if note not in row["labels"])]}
    references = [_reference(method, methods) for method in methods]
    groups = []
    for method, row, reference in zip(methods, found, references, strict=True):
        if reference is None:
            row["notes"].append("no uniform of the same model settings and corpus")
        elif not method.runs[0].is_uniform:
            row |= _against(method, reference, row["notes"], _budgets_of(reference, methods))
            row["reference"] = found[methods.index(reference)]["method"]
        place = None if reference is None else methods.index(reference)
        groups.append((method.trained, frozenset(method.documents), place))
    _correct(found)
    order = _rank(found, groups)
    _letters(found, [method.documents for method in methods], order)
    return [*(found[place] for place in order), *(without_result(run) for run in runs if run.state != COMPLETE)]


def _methods(runs: Sequence[Run]) -> list[Method]:
    """Group runs by method. A run that was evaluated twice, under two names, counts once."""
    held = _heldout(runs)
    by_method: dict[str, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        made = run.chain["evaluate"]
        by_method[made.method][made.run].append(run)
    methods = []
    for same in by_method.values():
        distinct = sorted((repeated[0] for repeated in same.values()), key=lambda run: (len(run.seed), run.seed))
        notes = [f"the same run as {r[0].source}, counted once: {each.source}" for r in same.values() for each in r[1:]]
        methods.append(Method(distinct, [held[run.source] for run in distinct], notes))
    return methods


def _heldout(runs: Sequence[Run]) -> dict[str, Hashable]:
    """What tells the held-out documents of runs apart, by the source of the run.

    Runs evaluated from the same inputs with the same settings have the same documents. The documents themselves are
    read only where other inputs or settings gave as many documents and tokens.
    """
    keys: dict[str, tuple[Any, ...]] = {}
    for run in runs:
        made = run.chain["evaluate"]
        inputs = sorted((key, given.reference) for key, given in made.inputs.items() if key != "language_model")
        counts = (run.measures.get("num_documents"), run.measures.get("num_tokens"))
        keys[run.source] = (counts, tuple(inputs), json.dumps(made.settings, sort_keys=True))
    alike = Counter(counts for counts, *_ in set(keys.values()))
    same = {keys[run.source]: run for run in runs}
    read = {key: _documents(run) if alike[key[0]] > 1 else None for key, run in same.items()}
    return {source: read[key] or key for source, key in keys.items()}


def _documents(run: Run) -> str | None:
    """A digest of the held-out documents of a run: ids, domains, tokens; None if they cannot be read."""
    columns = ["domain", "document_id"]
    try:
        table = parts.evaluated(run.chain["evaluate"].folder, run.part)
    except (OSError, pa.ArrowException):
        return None
    summed = (
        table.group_by(columns).aggregate([("num_tokens", "sum")]).sort_by([(name, "ascending") for name in columns])
    )
    return hashlib.sha256(json.dumps(summed.to_pydict(), sort_keys=True).encode()).hexdigest()


def _row(method: Method, name: str) -> dict[str, Any]:
    first, runs = method.runs[0], method.runs
    row = _known(first) | {"method": name, "state": COMPLETE, "seeds": [run.seed for run in runs]}
    row |= {"num_seeds": len(runs), "evaluations": [run.source for run in runs], "notes": [*method.notes]}
    row["tokens"] = None if math.isnan(method.tokens) else round(method.tokens)
    for measure, key in _MEASURES.items():
        values = [run.measures[key] for run in runs if run.measures.get(key) is not None]
        values = [value for value in values if math.isfinite(value)]
        if len(values) == len(runs):
            low, high = student.interval(values) or (None, None)
            row |= {measure: sum(values) / len(values), f"{measure}_low": low, f"{measure}_high": high}
    if len(runs) == 1:
        row["notes"].append("one seed, so no interval")
    elif row["loss_low"] is None:
        row["notes"].append("no interval: all seeds gave exactly the same loss")
    varied = [stage for stage in first.seeds if len({json.dumps(run.seeds.get(stage)) for run in runs}) > 1]
    if varied and len(varied) < len(first.seeds):
        row["notes"].append(f"the seeds vary in {' and '.join(varied)} alone")
    row["labels"] = sorted({str(label) for run in runs for label in run.chain["evaluate"].manifest.get("labels") or []})
    label = first.label
    scored = first.chain.get("rescore_proxy", first.chain.get("annotate_proxy"))
    if scored is not None and scored.settings.get("denominator") == "none":
        label = label.replace("lqs", "pds")  # the same scores without DELT's denominator
    if first.part:  # the papers' figures are on all of their held-out text
        return row
    return row | papers.figures(label, first.chain["train_lm"].settings, method.tokens)


def _known(run: Run) -> dict[str, Any]:
    """The columns of a run that do not depend on its result; all others are None, or empty lists."""
    model = run.chain.get("train_lm")
    learnt_from = model or run.chain.get("order")
    corpus = learnt_from.inputs.get("corpus") if learnt_from else None
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row |= {"method": run.label, "state": run.state, "seeds": [run.seed] if run.seed else [], "num_seeds": 0}
    row |= {
        "elsewhere": None,
        "evaluations": [run.source],
        "notes": [],
        "labels": [],
        "task_results": [],
        "num_pairs": 0,
    }
    row |= {"is_uniform": run.is_uniform, "part": run.part or None}
    row |= {"tokens": _tokens(run), "corpus": corpus.folder.name if corpus else None}
    if model:
        row["model_type"] = model.settings.get("network.model_type")
        row["parameters"] = model.manifest["counts"].get("parameters")
    return row | {
        "num_documents": run.measures.get("num_documents"),
        "num_heldout_tokens": run.measures.get("num_tokens"),
    }


def without_result(run: Run) -> dict[str, Any]:
    """The row of a run that is not complete."""
    row = _known(run) | {"notes": [run.problem] if run.problem else []}
    return row | {measure: run.measures.get(key) for measure, key in _MEASURES.items()}


def _tokens(run: Run) -> int | None:
    """Tokens that the model of a run was trained on."""
    tokens: int | None = run.chain["order"].manifest["counts"].get("tokens") if "order" in run.chain else None
    return tokens


def _names(methods: Sequence[Method]) -> list[str]:
    """Their labels; methods that no other column tells apart get the settings in which they differ."""
    names = [""] * len(methods)
    alike: dict[Hashable, list[int]] = defaultdict(list)
    for place, method in enumerate(methods):
        known = _known(method.runs[0])
        shown = (known["model_type"], known["parameters"], known["corpus"], f"{method.tokens:.2e}")
        alike[(method.runs[0].label, *shown, frozenset(method.documents))].append(place)
    for places in alike.values():
        chains = [methods[place].chain for place in places]
        cells = [
            Cell(
                {},
                {stage: {**made.manifest, "identity": {"config": made.settings}} for stage, made in chain.items()},
                methods[place].runs[0].label,
                False,
            )
            for place, chain in zip(places, chains, strict=True)
        ]
        for place, cell in zip(places, with_distinct_names(cells), strict=True):
            names[place] = cell.method
    return names


def _reference(method: Method, methods: Sequence[Method]) -> Method | None:
    """The uniform method to compare with: itself, or the one most like it of the same model settings and corpus."""
    if method.runs[0].is_uniform:
        return method
    uniform = [other for other in methods if other.runs[0].is_uniform and other.trained == method.trained]

    def unlike(other: Method) -> tuple[Any, ...]:
        own, others = (each.chain["select"].settings if "select" in each.chain else {} for each in (method, other))
        return (
            set(other.documents).isdisjoint(method.documents),
            other.chain["evaluate"].settings != method.chain["evaluate"].settings,
            _excess(method, other) is not None,
            -sum(others.get(key) == value for key, value in own.items()),
            abs(other.tokens - method.tokens),
        )

    return min(uniform, key=unlike, default=None)


def _excess(method: Method, reference: Method) -> float | None:
    """By which share the budget of a method exceeds that of its reference; None if they are equal or unknown."""
    excess = method.tokens - reference.tokens
    return excess / reference.tokens if abs(excess) > EQUAL_BUDGETS * reference.tokens else None


def _against(method: Method, reference: Method, notes: list[str], uniform: Sequence[Method]) -> dict[str, Any]:
    """The columns of the paired difference from `reference`; what prevents or weakens it is added to `notes`.

    `uniform`: that method at all its budgets.
    """
    if set(method.documents).isdisjoint(reference.documents):
        notes.append("other held-out documents than uniform: not compared")
        return {}
    if excess := _excess(method, reference):
        notes.append(f"unequal budgets: {100 * excess:+.1f} % tokens against uniform")
    found = {
        _replicate(run, documents): run for run, documents in zip(reference.runs, reference.documents, strict=True)
    }
    pairs = [
        (run, found[key])
        for run, documents in zip(method.runs, method.documents, strict=True)
        if (key := _replicate(run, documents)) in found
    ]
    missing = [run.seed for run in reference.runs if run.seed not in {own.seed for own in method.runs}]
    if missing:
        notes.append(f"seeds of uniform without a result: {', '.join(missing)}")
    if len(pairs) < len(method.runs):
        alone = len(method.runs) - len(pairs)
        notes.append(f"{alone} of {len(method.runs)} runs without a uniform run of the same seeds and documents")
    if not pairs:
        return {}
    differences = [run.measures["nats_per_token"] - other.measures["nats_per_token"] for run, other in pairs]
    row: dict[str, Any] = {"num_pairs": len(pairs), "difference": sum(differences) / len(pairs)}
    if len({other.source for _, other in pairs}) < len(pairs):
        notes.append("several runs share one uniform run: no interval of the difference")
        return row
    factors, said = budget_factors.compared(_losses([run for run, _ in pairs], method, uniform))
    if not factors and not said:
        factors, said = token_factors.compared(pairs)
    notes += said
    row["elsewhere"] = _elsewhere(pairs)
    low, high = student.interval(differences) or (None, None)
    return row | factors | {"difference_low": low, "difference_high": high, "p": student.p_value(differences)}


def _budgets_of(uniform: Method, methods: Sequence[Method]) -> list[Method]:
    """The methods that differ from a uniform one in their budget alone, itself among them."""

    def apart_from_budget(method: Method) -> tuple[Any, ...]:
        settings = (method.chain[stage].settings if stage in method.chain else {} for stage in ("select", "order"))
        return method.trained, *({k: v for k, v in each.items() if "num_tokens" not in k} for each in settings)

    return [
        other
        for other in methods
        if other.runs[0].is_uniform and apart_from_budget(other) == apart_from_budget(uniform)
    ]


def _losses(runs: Sequence[Run], method: Method, uniform: Sequence[Method]) -> list[budget_factors.Losses]:
    """For each run its tokens, its loss, and tokens -> loss of uniform with the same seeds and documents."""
    of: dict[Hashable, dict[float, float]] = defaultdict(dict)
    for other in uniform:
        for run, documents in zip(other.runs, other.documents, strict=True):
            if tokens := _tokens(run):
                of[_replicate(run, documents)][tokens] = run.measures["nats_per_token"]
    documents_of = {run.source: documents for run, documents in zip(method.runs, method.documents, strict=True)}
    return [
        budget_factors.Losses(tokens, run.measures["nats_per_token"], of[_replicate(run, documents_of[run.source])])
        for run in runs
        if (tokens := _tokens(run))
    ]


def _elsewhere(pairs: Sequence[tuple[Run, Run]]) -> dict[str, float]:
    """Part of the held-out text -> the mean difference of the loss from uniform there, for parts that all runs have."""
    names = [name for name in pairs[0][0].parts if all(name in run.parts for pair in pairs for run in pair)]
    losses = {name: [run.parts[name] - other.parts[name] for run, other in pairs] for name in names}
    return {name: sum(values) / len(values) for name, values in losses.items()}


def _replicate(run: Run, documents: Hashable) -> Hashable:
    """Equal for runs that can be paired: seeds, the very corpus of the training, held-out documents."""
    return json.dumps(dict(run.seeds), sort_keys=True), run.chain["train_lm"].inputs["corpus"].reference, documents


def _correct(found: Sequence[dict[str, Any]]) -> None:
    """Add `p_holm`, corrected for all rows of the table with a p-value."""
    tested = [row for row in found if row["p"] is not None]
    for row, adjusted in zip(tested, student.holm([row["p"] for row in tested]), strict=True):
        row["p_holm"] = adjusted


def _rank(found: Sequence[dict[str, Any]], groups: Sequence[Hashable]) -> list[int]:
    """Add `group` and `rank`; returns the places of all rows, large groups first, by loss in each."""
    members: dict[Hashable, list[int]] = defaultdict(list)
    for place, group in enumerate(groups):
        members[group].append(place)
    order = []
    for number, places in enumerate(sorted(members.values(), key=lambda places: -len(places)), 1):
        places.sort(key=lambda place: found[place]["loss"])
        order += places
        for rank, place in enumerate(places, 1):
            found[place] |= {"group": number, "rank": rank if len(places) > 1 else None}
    return order


def _letters(found: Sequence[dict[str, Any]], documents: Sequence[Sequence[Hashable]], order: Sequence[int]) -> None:
    """Add `heldout`: a letter for each set of held-out documents, A for that of the first row."""
    letters: dict[Hashable, str] = {}
    for place in order:
        sets = [letters.setdefault(each, _letter(len(letters))) for each in documents[place]]
        found[place]["heldout"] = " ".join(dict.fromkeys(sets))


def _letter(number: int) -> str:
    """A to Z, then AA and so on."""
    return (_letter(number // 26 - 1) if number > 25 else "") + chr(ord("A") + number % 26)
