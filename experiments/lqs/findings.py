"""The numbers of the study (results.json) from its artifacts, and the tables of the README from these numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from experiments.lqs import analysis
from experiments.lqs.analysis import Floats, Names
from experiments.lqs.mixture import KINDS
from qurating.artifacts.files import read_json, row_files
from qurating.artifacts.manifest import manifest
from qurating.corpus.sequences import read_sequences
from qurating.metrics.ranks import spearman
from qurating.metrics.scorer import agreement_at_the_top

Made = Mapping[str, Mapping[str, Path]]
Found = dict[str, Any]

INTERVALS = (2, 5, 10)
BATCH_SIZE = 8  # of the released annotation
METHODS = {
    "uniform": "uniform",
    "lqs": "LQS, top half",
    "lqs_folded": "LQS, top half, folded",
    "pds": "PDS, top half",
}


def collect(made: Made, proxies: Sequence[int], seeds: Sequence[int]) -> Found:
    """Every number in the README.

    Args:
        made: for each command of the study, the folders of its artifacts by stage.
        proxies: sizes of the proxy sets, ascending.
    """
    largest = made[f"lqs_{proxies[-1]}"]
    return {
        "corpus": _corpus(made, largest),
        "kinds": _kinds(made, largest),
        "scorers": _scorers(made, proxies),
        "approximations": _approximations(made),
        "language_models": _language_models(made, seeds),
    }


class Annotation:
    """An annotation as arrays over the N sequences in proxy order; `dots`, `norms`, `denominators` are (steps, N)."""

    def __init__(self, stages: Mapping[str, Path]) -> None:
        table = pq.read_table(stages.get("rescore_proxy", stages["annotate_proxy"]) / "annotation.parquet")
        self.ids = table["id"].to_numpy()
        self.kinds: Names = np.array(table["domain"].to_pylist())
        self.lengths = table["length"].to_numpy()
        self.lqs: Floats = table["lqs"].to_numpy()
        self.dots, self.norms, self.denominators = (
            np.array(table[name].to_pylist()).T for name in ("dots", "norms", "denominators")
        )
        documents = read_sequences(stages["prepare_corpus"], table, ["document_id"])
        self.documents: Names = np.array(documents["document_id"].to_pylist())


def _corpus(made: Made, largest: Mapping[str, Path]) -> Found:
    counts = manifest(largest["prepare_corpus"])["counts"]
    losses = np.genfromtxt(largest["annotate_proxy"] / "trajectory.csv", delimiter=",", names=True)
    target = manifest(largest["prepare_target"])["counts"]
    return {
        "training_tokens": counts["tokens"],
        "training_tokens_by_kind": counts["tokens_by_domain"],
        "training_sequences": counts["sequences"],
        "target": {key: target[key] for key in ("examples", "documents", "tokens")},
        "proxy_lm_tokens": manifest(largest["pretrain_proxy"])["counts"]["tokens"],
        "proxy_lm_parameters": manifest(largest["pretrain_proxy"])["counts"]["parameters"],
        "target_loss_before": float(losses["target_loss"][0]),
        "target_loss_after": float(losses["target_loss"][-1]),
        "steps": len(losses) - 1,
    }


def _kinds(made: Made, largest: Mapping[str, Path]) -> Found:
    """Question 1."""
    lqs, pds, second = Annotation(largest), Annotation(made["pds"]), Annotation(made["second"])
    if not np.array_equal(lqs.ids, pds.ids):
        raise ValueError("the annotations with and without denominator are not of the same sequences")

    def ranked(found: Annotation, scores: Floats) -> Found:
        return analysis.mean_by_kind(analysis.percentiles(scores), found.kinds, found.documents)

    full = lqs.lengths == lqs.lengths.max()
    return {
        "lqs": ranked(lqs, lqs.lqs),
        "pds": ranked(pds, pds.lqs),
        "lqs_second": ranked(second, second.lqs),
        "lqs_percentiles": {
            kind: sorted(analysis.percentiles(lqs.lqs)[lqs.kinds == kind].round(3).tolist()) for kind in KINDS
        },
        "gradient_norm": {kind: float(np.median(lqs.norms[:, lqs.kinds == kind])) for kind in KINDS},
        "alignment": {kind: float(np.median((lqs.dots / lqs.norms)[:, lqs.kinds == kind])) for kind in KINDS},
        "lqs_with_pds": spearman(lqs.lqs, pds.lqs),
        "dots_agree": float(np.abs(lqs.dots - pds.dots).max() / np.abs(lqs.dots).max()),
        "length_with_lqs": {
            kind: spearman(lqs.lengths[lqs.kinds == kind], lqs.lqs[lqs.kinds == kind]) for kind in KINDS
        },
        "share_of_full_length": float(full.mean()),
        "lqs_of_full_length": {
            kind: float(analysis.percentiles(lqs.lqs[full])[lqs.kinds[full] == kind].mean()) for kind in KINDS
        },
    }


def _scorers(made: Made, proxies: Sequence[int]) -> Found:
    """Question 2: the scorer on its own validation part, and on a second annotation of other sequences."""
    second = Annotation(made["second"])
    known = {number: Annotation(made[f"lqs_{number}"]) for number in proxies}
    largest = known[proxies[-1]]
    fresh = ~np.isin(second.ids, largest.ids)  # smaller proxy sets are beginnings of the largest
    found: Found = {"fresh_sequences": int(fresh.sum())}
    wanted, kinds = second.lqs[fresh], second.kinds[fresh]
    for number, annotation in known.items():
        stages = made[f"lqs_{number}"]
        predicted = _scores(stages, second.ids[fresh])
        alone = analysis.by_kind_alone(annotation.lqs, annotation.kinds, kinds)
        validation = read_json(stages["train_scorer"] / "validation.json")
        found[str(number)] = {
            "validation": {key: validation[key] for key in ("num_sequences", "spearman", "top")},
            "fresh": analysis.correlation(predicted, wanted),
            "fresh_top": agreement_at_the_top(wanted, predicted, 0.3),
            "within_kinds": analysis.within_kinds(predicted, wanted, kinds),
            "kind_alone": spearman(alone, wanted),
            "kind_alone_top": agreement_at_the_top(wanted, alone, 0.3),
        }
        if number == proxies[-1]:
            found["scatter"] = {
                "annotated": analysis.percentiles(wanted).round(4).tolist(),
                "predicted": analysis.percentiles(predicted).round(4).tolist(),
                "kinds": kinds.tolist(),
            }
    # the agreement of two annotations of the same sequences bounds what a scorer can reach
    _, first_rows, second_rows = np.intersect1d(largest.ids, second.ids, return_indices=True)
    a, b, both = largest.lqs[first_rows], second.lqs[second_rows], largest.kinds[first_rows]
    found["two_annotations"] = {
        "all": analysis.correlation(a, b),
        "within_kinds": analysis.within_kinds(a, b, both),
    }
    one, other = (_all_scores(made[name]) for name in (f"lqs_{proxies[-1]}", "second"))
    found["two_scorers"] = {
        "sequences": len(one),
        "spearman": spearman(one, other),
        "shared_of_the_top_half": analysis.overlap(one, other, 0.5),
    }
    return found


def _approximations(made: Made) -> Found:
    """Question 3: Spearman with the exact scores, of variants that change one thing each."""
    exact = Annotation(made["reference"])
    norms = np.concatenate([exact.norms, exact.denominators[-1:]])  # the last is at θ_T
    num_steps = len(norms)
    reference = analysis.score(exact.dots, norms, 1, "next_step")
    found: Found = {"sequences": len(reference), "steps": num_steps, "kinds": len(set(exact.kinds.tolist()))}
    scores: dict[str, Floats] = {
        "same step's norm divides": analysis.score(exact.dots, norms, 1, "same_step"),
        "no denominator (PDS)": analysis.score(exact.dots, norms, 1, "none"),
    }
    for interval in INTERVALS:
        for denominator in ("next_visited", "next_step"):
            name = f"interval {interval}, {denominator.replace('_', ' ')}"
            scores[name] = analysis.score(exact.dots, norms, interval, denominator)
    names = {
        "no_hessian": "without the Hessian",
        "finite_differences": "Hessian by finite differences",
        "bf16_differences": "trajectory as bf16 differences",
        "bf16": "gradients in bf16",
    }
    for command, name in names.items():
        again = Annotation(made[command])
        if not np.array_equal(again.ids, exact.ids):
            raise ValueError(f"{command} is not of the reference's sequences")
        scores[name] = again.lqs
    for interval in (1, 10):
        faults = {
            "a first denominator of 1": (True, False),
            "broadcast to batch × batch": (False, True),
            "both faults, as released": (True, True),
        }
        for name, (first_is_one, broadcast) in faults.items():
            scores[f"interval {interval}, {name}"] = analysis.released(
                exact.dots, norms, interval, BATCH_SIZE, first_is_one=first_is_one, broadcast=broadcast
            )
    groups = {kind: exact.kinds == kind for kind in KINDS if (exact.kinds == kind).sum() > 2}
    for name, values in scores.items():
        found[name] = {
            **analysis.correlation(values, reference),
            "within_kinds": float(np.mean([spearman(values[g], reference[g]) for g in groups.values()])),
            "top_half": analysis.overlap(values, reference, 0.5),
        }
    ran = Annotation(made["interval_10"]).lqs
    derived = scores["interval 10, next visited"]
    found["interval 10 as computed from the reference, against its own run"] = float(
        np.abs(ran - derived).max() / np.abs(ran).max()
    )
    return found


def _language_models(made: Made, seeds: Sequence[int]) -> Found:
    """Question 4."""
    tables = {
        (method, seed): _by_document(made[f"lm_{method}_{seed}"]["evaluate"]) for method in METHODS for seed in seeds
    }
    documents = sorted(tables["uniform", seeds[0]])
    found: Found = {"methods": {}, "changes": {}}
    for kind in KINDS:
        of_kind = [name for name in documents if name.startswith(f"{kind}/")]
        tokens = np.array([tables["uniform", seeds[0]][name][1] for name in of_kind], dtype=np.float64)
        nll = {
            method: [np.array([tables[method, seed][name][0] for name in of_kind]) for seed in seeds]
            for method in METHODS
            if all(name in tables[method, seeds[0]] for name in of_kind)
        }
        found["changes"][kind] = {
            "documents": len(of_kind),
            "tokens": int(tokens.sum()),
            "methods": analysis.changes(nll, tokens, "uniform"),
        }
    for method in METHODS:
        stages = [made[f"lm_{method}_{seed}"] for seed in seeds]
        shares = [_tokens_by_kind(each["select"]) for each in stages]
        found["methods"][method] = {
            "trained_tokens": [manifest(each["train_lm"])["counts"]["tokens"] for each in stages],
            "share_of_tokens": {kind: float(np.mean([share.get(kind, 0.0) for share in shares])) for kind in KINDS},
        }
    pairs = {"lqs_folded": "lqs", "lqs": "pds"}
    prose = [name for name in documents if name.startswith("prose/")]
    tokens = np.array([tables["uniform", seeds[0]][name][1] for name in prose], dtype=np.float64)
    for method, other in pairs.items():
        nll = {
            each: [np.array([tables[each, seed][name][0] for name in prose]) for seed in seeds]
            for each in (method, other)
        }
        found["changes"][f"prose: {method} against {other}"] = analysis.changes(nll, tokens, other)[method]
    return found


def _by_document(evaluation: Path) -> dict[str, tuple[float, int]]:
    """Nats and tokens of each held-out document."""
    table = pq.read_table(evaluation / "sequences.parquet", columns=["document_id", "nll_nats", "num_tokens"])
    found: dict[str, tuple[float, int]] = {}
    for row in table.to_pylist():
        nats, tokens = found.get(row["document_id"], (0.0, 0))
        found[row["document_id"]] = (nats + row["nll_nats"], tokens + row["num_tokens"])
    return found


def _tokens_by_kind(subset: Path) -> dict[str, float]:
    table = pq.read_table(subset / "subset.parquet", columns=["length", "domain"])
    lengths, kinds = table["length"].to_numpy(), np.array(table["domain"].to_pylist())
    return {kind: float(lengths[kinds == kind].sum() / lengths.sum()) for kind in set(kinds.tolist())}


def _scores(stages: Mapping[str, Path], ids: np.ndarray) -> Floats:
    """The scores that the scorer gave these sequences."""
    files = row_files(stages["score"] / "train")
    tables = [pq.read_table(file, columns=["id", "lqs_average"]) for file in files]
    known = np.concatenate([table["id"].to_numpy() for table in tables])
    scores = np.concatenate([table["lqs_average"].to_numpy() for table in tables])
    order = np.argsort(known)
    return scores[order[np.searchsorted(known, ids, sorter=order)]]


def _all_scores(stages: Mapping[str, Path]) -> Floats:
    files = row_files(stages["score"] / "train")
    return np.concatenate([pq.read_table(file, columns=["lqs_average"])["lqs_average"].to_numpy() for file in files])


def put_tables(readme: Path, tables: Mapping[str, str]) -> None:
    """Replace the text between `<!-- table:NAME -->` and `<!-- end -->` by the tables of those names."""
    text = readme.read_text(encoding="utf-8")
    for name, table in tables.items():
        start, end = f"<!-- table:{name} -->\n", "<!-- end -->"
        before, mark, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not mark or not closed:
            raise ValueError(f"{readme} has no place for the table {name!r}: {start.strip()} ... {end}")
        text = f"{before}{start}{table}\n{end}{after}"
    readme.write_text(text, encoding="utf-8")


def tables(found: Found) -> dict[str, str]:
    """The tables of the README in Markdown."""
    return {
        "kinds": _kinds_table(found["kinds"]),
        "scorers": _scorers_table(found["scorers"]),
        "approximations": _approximations_table(found["approximations"]),
        "language_models": _language_models_table(found["language_models"]),
    }


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _range(values: Sequence[float], form: str = ".2f") -> str:
    return f"[{_signed(values[0], form)}, {_signed(values[1], form)}]"


def _signed(value: float, form: str) -> str:
    return f"{value:{form}}".replace("-", "−")


def _kinds_table(found: Found) -> str:
    def cell(score: str, kind: str) -> str:
        return f"{found[score][kind]['mean']:.2f} {_range(found[score][kind]['interval'])}"

    rows = [
        [
            kind,
            *(cell(score, kind) for score in ("lqs", "lqs_second", "pds")),
            f"{found['gradient_norm'][kind]:.2f}",
            f"{found['lqs'][kind]['sequences']} / {found['lqs'][kind]['documents']}",
        ]
        for kind in KINDS
    ]
    head = ["kind", "LQS", "LQS, second run", "PDS", "median gradient norm", "sequences / documents"]
    return markdown_table(head, rows)


def _scorers_table(found: Found) -> str:
    rows = []
    for number in sorted((key for key in found if key.isdigit()), key=int):
        own = found[number]
        rows.append(
            [
                number,
                f"{_signed(own['validation']['spearman'], '.2f')} ({own['validation']['num_sequences']})",
                f"{own['validation']['top']['accuracy']:.2f} / {own['validation']['top']['f1']:.2f}",
                f"{_signed(own['fresh']['spearman'], '.2f')} {_range(own['fresh']['interval'])}",
                f"{own['fresh_top']['accuracy']:.2f} / {own['fresh_top']['f1']:.2f}",
                f"{_signed(own['within_kinds']['mean'], '.2f')} {_range(own['within_kinds']['interval'])}",
                _signed(own["kind_alone"], ".2f"),
            ]
        )
    head = [
        "proxy sequences",
        "validation: Spearman (of)",
        "validation: top 30 %, accuracy / F1",
        "fresh: Spearman",
        "fresh: top 30 %, accuracy / F1",
        "fresh: Spearman within kinds",
        "the kind alone: Spearman",
    ]
    return markdown_table(head, rows)


def _approximations_table(found: Found) -> str:
    rows = [
        [
            name,
            f"{_signed(own['spearman'], '.4f')} {_range(own['interval'], '.3f')}",
            _signed(own["within_kinds"], ".3f"),
            f"{own['top_half']:.0%}",
        ]
        for name, own in found.items()
        if isinstance(own, dict)
    ]
    return markdown_table(["what is changed", "Spearman", "within kinds", "of the top half kept"], rows)


def _language_models_table(found: Found) -> str:
    prose = found["changes"]["prose"]["methods"]
    rows = []
    for method, label in METHODS.items():
        own = prose[method]
        changes = [
            f"{_signed(own['change'], '+.1f')} %",
            _range(own["over_seeds"], "+.1f"),
            _range(own["over_documents"], "+.1f"),
        ]
        others = [
            f"{_signed(found['changes'][kind]['methods'][method]['change'], '+.1f')} %" for kind in ("manuals", "code")
        ]
        if method == "uniform":
            changes, others = ["—"] * 3, ["—"] * 2
        rows.append([label, f"{own['perplexity']:.1f}", *changes, *others])
    head = ["trained on", "perplexity", "change", "over seeds", "over documents", "manuals", "code"]
    return markdown_table(head, rows)
