"""Trainings and evaluations on disk, as runs leave them: real artifacts with invented losses."""

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from artifact_example import publish

from qurating.artifacts.artifact import Artifact
from qurating.artifacts.files import write_json, write_table
from qurating.artifacts.manifest import read_manifest, reference
from qurating.metrics.loss_curve import SCHEMA

NETWORK = {"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 1}
DOCUMENTS = ("a", "b", "c")


def make(root: Path, name: str, stage: str, inputs: Mapping[str, str], config: Mapping[str, Any], **counts: Any) -> str:
    """An artifact with one small file, made unless it is there; returns the reference to it."""
    artifact = Artifact(root / name, stage, inputs, config)

    def build(folder: Path) -> dict[str, Any]:
        (folder / "content.txt").write_text(f"{name} {config}")
        return counts

    publish(artifact, build)
    return reference(name, read_manifest(root / name / "manifest.json"))


def corpus(root: Path, name: str = "embedded", seed: int = 0, **config: Any) -> str:
    return make(root, f"corpora/{name}", "prepare_corpus", {}, {"seed": seed, **config})


def with_curve(root: Path, model: str, points: Mapping[int, float], documents: tuple[str, ...] = DOCUMENTS) -> str:
    """Make a language model again with a curve, {tokens: nats per token}, the same for each document."""
    name = model.split(" (")[0]
    made = read_manifest(root / name / "manifest.json")
    artifact = Artifact(root / name, "train_lm", made["inputs"], {**made["config"], "points": 1}, overwrite=True)

    def build(folder: Path) -> dict[str, Any]:
        rows = [
            {
                **{"step": step, "tokens": tokens, "document_id": each, "domain": "prose"},
                **{"nll_nats": 100 * loss, "num_tokens": 100, "num_bytes": 300},
            }
            for step, (tokens, loss) in enumerate(points.items(), 1)
            for each in documents
        ]
        write_table(folder / "curve.parquet", pa.Table.from_pylist(rows, SCHEMA))
        return dict(made["counts"])

    publish(artifact, build)
    return reference(name, read_manifest(root / name / "manifest.json"))


def ordered(
    root: Path, tag: str, label: str, texts: str, seed: int, tokens: int, ordering: str, **selection: Any
) -> str:
    """A subset and its order; `ratings` among the settings of the selection is an input."""
    ratings = {"ratings": selection.pop("ratings")} if "ratings" in selection else {}
    config = {"label": label, "seed": seed, "rule": {"num_tokens": 30_000, **selection}}
    subset = make(root, f"subsets/{tag}", "select", {"corpus": texts, **ratings}, config, tokens=tokens)
    given = {"corpus": texts, "subset": subset}
    return make(root, f"orders/{tag}", "order", given, {"method": ordering, "seed": seed}, tokens=tokens)


def trained(
    root: Path,
    label: str = "uniform",
    *,
    seed: int = 0,
    tag: str = "",
    texts: str | None = None,
    tokens: int = 30_000,
    ordering: str = "shuffle",
    network: Mapping[str, Any] = NETWORK,
    **selection: Any,
) -> str:
    """A language model; `tag` is the name of all that is its own, by default of label and seed."""
    tag = tag or f"{label}-{ordering}-{seed}".replace("/", "_")[:100]
    texts = texts or corpus(root)
    order = ordered(root, tag, label, texts, seed, tokens, ordering, **selection)
    config = {"network": dict(network), "seed": seed, "lr": 0.005}
    return make(root, f"models/lm-{tag}", "train_lm", {"corpus": texts, "order": order}, config, parameters=75_872)


def evaluation(
    root: Path,
    model: str,
    loss: float,
    *,
    texts: str | None = None,
    documents: tuple[str, ...] = DOCUMENTS,
    name: str = "",
    labels: tuple[str, ...] = (),
    **config: Any,
) -> Artifact:
    """What `evaluate` is asked for, with the function that builds it."""
    name = name or model.split(" (")[0].removeprefix("models/")
    inputs = {"corpus": texts or corpus(root), "language_model": model}
    return Artifact(
        root / "evaluations" / name,
        "evaluate",
        inputs,
        {"batch_size_sequences": 16, **config},
        labels=frozenset(labels),
    )


def evaluated(root: Path, model: str, loss: float, **given: Any) -> str:
    """An evaluation of `model` with this loss in nats per token, 100 tokens a document, 3 bytes a token."""
    documents = given.get("documents", DOCUMENTS)
    domains = given.pop("domains", ("prose",) * len(documents))
    artifact = evaluation(root, model, loss, **given)

    def build(folder: Path) -> dict[str, Any]:
        count = len(documents)
        columns = {"document_id": [*documents], "domain": [*domains], "num_tokens": [100] * count}
        write_table(folder / "sequences.parquet", pa.table(columns))
        measures = {
            "nats_per_token": loss,
            "perplexity": math.exp(loss),
            "bits_per_byte": loss / (3 * math.log(2)),
        }
        counted = {
            name: measures | {"num_tokens": 100 * number, "num_documents": number}
            for name, number in {"overall": count, **Counter(domains)}.items()
        }
        overall = counted.pop("overall")
        write_json(folder / "metrics.json", {"overall": overall, "domains": counted})
        return overall

    publish(artifact, build)
    name = f"evaluations/{artifact.path.name}"
    return reference(name, read_manifest(artifact.path / "manifest.json"))


def on_tasks(root: Path, model: str, accuracy: float, tasks: str = "offline", **config: Any) -> str:
    """Results on two tasks, one of a category; `labels` and settings may be given."""
    labels = frozenset(config.pop("labels", ()))
    name = f"task_results/{model.split(' (')[0].removeprefix('models/')}-{tasks}"
    settings = {"tasks": [tasks], **config}
    artifact = Artifact(root / name, "evaluate_tasks", {"language_model": model}, settings, labels=labels)

    def build(folder: Path) -> dict[str, Any]:
        measures = {"accuracy": accuracy, "accuracy_normalised": accuracy + 0.1, "bits_per_byte": None}
        averages = {"chance": 0.25, **measures, "probability": accuracy / 2}
        content = {"tasks": {"a": {}, "b": {}}, "averages": {"all": averages, "reading": averages}, "lm_eval": "1"}
        write_json(folder / "tasks.json", content)
        return {}

    publish(artifact, build)
    return reference(name, read_manifest(root / name / "manifest.json"))


def run(root: Path, label: str, loss: float, seed: int = 0, **given: Any) -> str:
    """A training and its evaluation; returns the reference to the latter."""
    of_evaluation: dict[str, Any] = {key: given.pop(key) for key in ("documents", "labels") if key in given}
    if "texts" in given:
        of_evaluation["texts"] = given["texts"]
    return evaluated(root, trained(root, label, seed=seed, **given), loss, **of_evaluation)
