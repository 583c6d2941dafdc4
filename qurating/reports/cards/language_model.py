"""The model card (README.md) of a language model: its data, its training, its held-out loss, and what to mind."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from qurating.artifacts import lineage
from qurating.artifacts.ancestry import Ancestry, Made
from qurating.evaluation.comparison import label_of
from qurating.metrics.loss_curve import Point
from qurating.reports import style
from qurating.reports.cards import markdown
from qurating.reports.numbers import short_count
from qurating.runtime.errors import StageError


def write_card(
    output: Path, *, order: Path, tokens: int, training: Mapping[str, str], curve: Sequence[Point] | None
) -> None:
    """Write README.md, and `card/loss.png` if there is a curve.

    Args:
        output: the folder of the model.
        order: the artifact that it was trained on; its ancestors, where they are there, tell about the data.
        tokens: that it was trained on.
        training: name -> value, as shown on the card.
        curve: see `metrics.loss_curve`; None if it was not measured.
    """
    chain: dict[str, Made] = {}
    with contextlib.suppress(StageError):  # an ancestor was moved or replaced: the card tells less
        chain = Ancestry(order.parent.parent).artifact(f"{order.parent.name}/{order.name}").by_stage()
    label, _ = label_of({stage: made.manifest for stage, made in chain.items()}, order.name)
    labels = sorted({str(each) for made in chain.values() for each in made.manifest.get("labels") or []})
    if curve:
        style.save(loss_figure(curve), output / "card" / "loss.png")
    head = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["qurating", "pre-training", "data-selection", *(each.replace(" ", "-") for each in labels)],
    )
    page = markdown.template("model_card.md.jinja").render(
        head=head.to_yaml().strip(),
        tokens=short_count(tokens),
        label=label,
        labels=labels,
        data=_data(chain),
        training=training,
        curve=curve or [],
        domains=sorted({name for point in curve or [] for name in point.domains}),
        made_of=[chain[stage].reference for stage in lineage.STAGES if stage in chain],
        is_rated="select" in chain and "ratings" in chain["select"].inputs,
    )
    (output / "README.md").write_text(page, encoding="utf-8")


def _data(chain: Mapping[str, Made]) -> dict[str, str]:
    """What is known of the corpus, the selection and the order."""
    found: dict[str, str] = {}
    if corpus := chain.get(lineage.CORPUS):
        size = corpus.manifest["counts"].get("tokens")
        found["corpus"] = f"{corpus.folder.name}, {short_count(size)} tokens"
    if subset := chain.get("select"):
        config: Mapping[str, Any] = subset.manifest["config"]
        rule = config.get("rule") or {}
        found["selection"] = str(config.get("label"))
        found["criterion"] = str(config.get("criterion") or "–")
        if rule.get("temperature") is not None:
            temperature = float(rule["temperature"])  # manifests have infinity as text
            found["temperature"] = f"{temperature:g}" + ("" if temperature else " (top-k)")
        if rule.get("inverse") is not None:
            found["inverse (low scores are preferred)"] = "yes" if rule["inverse"] else "no"
        found["budget, tokens"] = f"{rule['num_tokens']:,}" if isinstance(rule.get("num_tokens"), int) else "–"
        found["by domain"] = "yes" if config.get("by_domain") else "no"
    if ordered := chain.get("order"):
        found["order"] = str(ordered.manifest["config"].get("method") or "as selected")
        found["tokens in order"] = f"{ordered.manifest['counts'].get('tokens', 0):,}"
    return found


@style.styled
def loss_figure(curve: Sequence[Point]) -> Figure:
    """Nats per token against tokens trained on, in log scale."""
    figure = Figure(figsize=(style.WIDTH / 2, 2.6))
    axes = figure.subplots()
    axes.plot(
        [p.tokens for p in curve], [p.nats_per_token for p in curve], color=style.ACCENT, marker="o", markersize=3
    )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("tokens trained on")
    axes.set_ylabel("nats per token")
    axes.set_title("Loss on held-out documents", loc="left")
    return figure
