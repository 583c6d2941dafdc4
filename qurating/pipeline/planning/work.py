"""How much work the artifact of a stage is, in the unit that the time of the stage grows with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from qurating.pipeline.planning import judge_calls
from qurating.pipeline.planning.corpora import corpus
from qurating.pipeline.planning.counts import Counts, UnknownError
from qurating.pipeline.planning.networks import Size, size

# as in lqs.costate, which imports torch: forward and backward passes of a sample
FORWARD_COST = 0.375
PRODUCT_COSTS = {"exact": 3.5, "finite_differences": 2.0, "none": 0.0}

CLUSTERED_COST = 60  # sequences that are analysed in the time that one is clustered

Settings = Mapping[str, Any]
Read = Mapping[str, Counts]


@dataclass
class Work:
    """What a stage has to do, and what it leaves behind.

    `amount`: in the stage's unit (conf/rates.yaml: operations of networks, tokens, sequences, requests); None if it
    cannot be told, and `unknown` then says why. `shown`: the amount for people. `size`: what the bytes of the files
    grow with (conf/rates.yaml). `counts`: for later stages. `note`: an assumption. `calls`, `usd`: of a paid judge.
    """

    amount: float | None
    shown: str
    size: float
    counts: Counts = field(default_factory=lambda: Counts({}))
    note: str = ""
    unknown: str = ""
    calls: int = 0
    usd: float | None = None


def work(stage: str, settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    """The work of a stage.

    Args:
        settings: of the stage, as in its manifest.
        read: the counts of each artifact that it reads, by the stage's name for it.
        known: conf/rates.yaml.

    Raises:
        UnknownError: nothing can be told about it; says why.
    """
    if stage not in WORK:
        raise UnknownError(f"there is no formula for {stage} (qurating/pipeline/planning/work.py)")
    return WORK[stage](settings, read, known)


def _prepare_corpus(settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    counts, origin = corpus(settings, known)
    tokens = counts["tokens"] + counts["heldout_tokens"]
    return Work(tokens, f"{short(tokens)} tokens", tokens, counts, origin)


def _judge(settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    judge, texts = settings["judge"], read["corpus"]
    mean_length = texts.need("tokens") / texts.need("sequences")
    snippet = min(mean_length, judge_calls.MEAN_SNIPPET * judge["max_snippet_tokens"])
    found, note = judge_calls.estimate(judge, settings["criteria"], snippet)
    counts = Counts({"pairs": judge["num_pairs"], "snippet_tokens": snippet})
    is_simulated = bool(judge.get("simulated"))
    paid = 0 if is_simulated or judge.get("gguf") else found.num_calls
    return Work(
        amount=found.num_calls if is_simulated else None,
        shown=f"{found.num_calls:,} calls, {short(found.prompt_tokens)} tokens",
        size=judge["num_pairs"],
        counts=counts,
        note=note,
        unknown="" if is_simulated else "the time depends on the endpoint",
        calls=paid,
        usd=found.usd if paid else None,
    )


def _import_judgments(settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    source = settings["source"]
    pairs = source["num_pairs"] or (None if source["paths"] else known["judgments"].get(source["dataset"]))
    if pairs is None:
        raise UnknownError("the number of judgments in the files or the data set is not known")
    counts = {"pairs": pairs, "snippet_tokens": judge_calls.MEAN_SNIPPET * source["max_snippet_tokens"]}
    return Work(pairs, f"{pairs:,} pairs", pairs, Counts(counts))


def _train_rater(settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    network = size(settings["network"], read["corpus"].need("vocabulary"), known["networks"], has_output=False)
    judgments = read["judgments"]
    tokens = 2 * judgments.need("pairs") * min(judgments.need("snippet_tokens"), settings["max_tokens"])
    tokens *= settings["num_epochs"]
    passes = 3 * (1 - settings["validation_fraction"]) + settings["validation_fraction"]
    note = "pairs below rater.minimum_confidence counted" if settings["minimum_confidence"] > 0 else ""
    return _trained(network, tokens, passes, note)


def _rate(settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    return _rated(_model("rater", settings, read, known, has_output=False), read, "multiplied_at_end")


def _import_ratings(settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    sequences = read["corpus"].need("sequences")
    return Work(sequences, f"{short(sequences)} sequences", sequences)


def _score(settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    return _rated(_model("scorer", settings, read, known, has_output=False), read)


def _measure_perplexity(settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    if settings["kenlm"]:
        sequences = read["corpus"].need("sequences")
        return Work(None, f"{short(sequences)} sequences", sequences, unknown="no rate of KenLM has been measured")
    return _rated(_model("language_model", settings, read, known, has_output=True), read)


def _prepare_target(settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    source, length = settings["source"], settings["context_tokens"]
    if "max_sequences" in source:
        heldout = read["corpus"]
        mean_length = heldout.need("heldout_tokens") / max(heldout.need("heldout_sequences"), 1)
        examples, tokens = source["max_sequences"], source["max_sequences"] * mean_length
    else:
        paths = source["paths"]
        key = paths["dataset"] if isinstance(paths, Mapping) else None
        if key not in known["targets"]:
            raise UnknownError(f"the number of examples in {key or paths} is not known")
        entry = known["targets"][key]
        examples, tokens = entry["examples"], entry["examples"] * min(entry["tokens_per_example"], length)
    return Work(examples, f"{examples:,} examples", examples, Counts({"examples": examples, "tokens": tokens}))


def _sample_proxy(settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    rows = read["corpus"].need("sequences")
    sequences = min(settings["num_sequences"], rows)
    tokens = sequences * read["corpus"].need("tokens") / rows
    return Work(rows, f"{short(sequences)} of {short(rows)} sequences", sequences, _rows(sequences, tokens))


def _pretrain_proxy(settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    network = size(settings["network"], read["corpus"].need("vocabulary"), known["networks"], has_output=True)
    return _trained(network, min(settings["num_tokens"], read["corpus"].need("tokens")), 3)


def _annotate_proxy(settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    proxy, target, steps = read["proxy"], read["target"], settings["num_steps"]
    model = _model("proxy_lm", {"from_pretrained": settings["model"]}, read, known, has_output=True)
    length = proxy.need("tokens") / proxy.need("sequences")
    interval = settings["contribution_interval"]
    visits = (steps - 1) // interval
    passes = visits * (2 if settings["denominator"] == "next_step" and interval > 1 else 1)
    batch = settings["batch_size_sequences"] * length
    backwards = steps - interval + 1  # from the last step to the first that is visited
    steps_taken = steps * (2 if settings["trajectory"] == "recompute" else 1)
    tokens = passes * proxy.need("tokens") + steps_taken * batch
    tokens += backwards * (target.need("tokens") + PRODUCT_COSTS[settings["hessian"]] * batch)
    tokens += interval * FORWARD_COST * target.need("tokens")
    sequences, parameters = short(proxy.need("sequences")), short(model.need("parameters"))
    shown = f"{sequences} sequences × {passes} steps × {parameters} parameters"
    return Work(6 * tokens * model.need("multiplied"), shown, proxy["sequences"], proxy)


def _rescore_proxy(settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    sequences = read["annotation"].need("sequences")
    return Work(sequences, f"{short(sequences)} sequences", sequences, read["annotation"])


def _train_scorer(settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    network = size(settings["network"], read["corpus"].need("vocabulary"), known["networks"], has_output=False)
    tokens = read["annotation"].need("tokens") * settings["num_epochs"]
    return _trained(network, tokens, 3 * (1 - settings["validation_fraction"]) + settings["validation_fraction"])


def _weigh_importance(settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    tokens = read["corpus"].need("tokens")
    return Work(tokens, f"{short(tokens)} tokens", read["corpus"].need("sequences"))


def _select(settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    rows, available = read["corpus"].need("sequences"), read["corpus"].need("tokens")
    rule = settings["rule"]
    if "num_tokens" in rule:
        tokens = min(rule["num_tokens"], available)
    elif "fraction" in rule:
        tokens = rule["fraction"] * available
    else:
        raise UnknownError("the rule does not say how many tokens it selects")
    chosen = rows * tokens / available
    return Work(rows, f"{short(tokens)} of {short(available)} tokens", chosen, _rows(chosen, tokens))


def _check_subset(settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    tokens = read["subset"].need("tokens")
    note = "what is removed counted" if settings["remove"] else ""
    return Work(tokens, f"{short(tokens)} tokens", read["subset"].need("sequences"), read["subset"], note)


def _report_subset(settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    tokens = read["subset"].need("tokens")
    return Work(tokens, f"{short(tokens)} tokens", 1)


def _analyse_ratings(settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    sequences = min(settings["max_sequences"], read["corpus"].need("sequences"))
    clustered = min(settings["max_clustered"], sequences) if settings["clusters"] else 0
    said = f"{short(sequences)} sequences" + (f", {short(clustered)} of them clustered" if clustered else "")
    # a text takes as long as `CLUSTERED_COST` rows of numbers
    return Work(sequences + CLUSTERED_COST * clustered, said, 1)


def _order(settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    tokens = read["subset"].need("tokens")
    return Work(tokens, f"{short(tokens)} tokens", tokens, read["subset"])


def _train_lm(settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    corpus_counts = read["corpus"]
    given = settings["network"] or {"name_or_path": settings["from_pretrained"]}
    network = size(given, corpus_counts.need("vocabulary"), known["networks"], has_output=True)
    tokens = read["order"].need("tokens")
    points = len(settings.get("heldout_at_tokens") or []) or settings.get("heldout_points") or 0
    heldout = min(corpus_counts.need("heldout_tokens"), settings.get("heldout_max_tokens") or float("inf"))
    found = _trained(network, tokens, 3)
    return Work(2 * network.multiplied * (3 * tokens + points * heldout), found.shown, found.size, found.counts)


def _evaluate(settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    tokens = read["corpus"].need("heldout_tokens")
    amount = 2 * tokens * read["language_model"].need("multiplied")
    return Work(amount, f"{short(tokens)} held-out tokens", read["corpus"].need("heldout_sequences"))


def _evaluate_tasks(settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    tasks = [task if isinstance(task, str) else task["task"] for task in settings["tasks"]]
    tokens = {task: known["tasks"].get(task) for task in tasks}
    unknown = [task for task, number in tokens.items() if number is None]
    if unknown or settings["limit"] is not None:
        why = f"the number of questions of {', '.join(unknown) or 'tasks with a limit'} is not in conf/rates.yaml"
        return Work(None, f"{len(tasks)} tasks", len(tasks), unknown=why)
    amount = 2 * sum(tokens.values()) * read["language_model"].need("multiplied")
    return Work(amount, f"{len(tasks)} tasks", len(tasks))


def _order_lines(settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    from qurating.corpus.files import named_files

    num_bytes = sum(path.stat().st_size for path, _ in named_files(settings["paths"]))
    return Work(num_bytes, f"{short(num_bytes)} bytes", num_bytes * settings["fraction"], note="compressed as they are")


def _analyse(settings: Settings, read: Read, known: Mapping[str, Any]) -> Work:
    number = len(settings["cells"])
    return Work(number, f"{number} cells", number)


WORK: dict[str, Callable[[Settings, Read, Mapping[str, Any]], Work]] = {
    "prepare_corpus": _prepare_corpus,
    "judge": _judge,
    "import_judgments": _import_judgments,
    "train_rater": _train_rater,
    "rate": _rate,
    "import_ratings": _import_ratings,
    "prepare_target": _prepare_target,
    "sample_proxy": _sample_proxy,
    "pretrain_proxy": _pretrain_proxy,
    "annotate_proxy": _annotate_proxy,
    "rescore_proxy": _rescore_proxy,
    "train_scorer": _train_scorer,
    "score": _score,
    "measure_perplexity": _measure_perplexity,
    "weigh_importance": _weigh_importance,
    "select": _select,
    "check_subset": _check_subset,
    "report_subset": _report_subset,
    "analyse_ratings": _analyse_ratings,
    "order": _order,
    "train_lm": _train_lm,
    "evaluate": _evaluate,
    "evaluate_tasks": _evaluate_tasks,
    "analyse": _analyse,
    "order_lines": _order_lines,
}


def _trained(network: Size, tokens: float, passes: float, note: str = "") -> Work:
    """A training; `passes` counts in forward passes, of which a backward pass takes two."""
    shown = f"{short(tokens)} tokens × {short(network.parameters)} parameters"
    return Work(2 * passes * network.multiplied * tokens, shown, network.parameters, Counts(network._asdict()), note)


def _rated(model: Counts, read: Read, counted: str = "multiplied") -> Work:
    tokens = read["corpus"].need("tokens")
    shown = f"{short(tokens)} tokens × {short(model.need('parameters'))} parameters"
    return Work(2 * tokens * model.need(counted), shown, read["corpus"].need("sequences"))


def _model(key: str, settings: Settings, read: Read, known: Mapping[str, Any], has_output: bool) -> Counts:
    """The counts of a model that an earlier stage makes, or that the settings name."""
    if key in read:
        return read[key]
    if settings["from_pretrained"] is None:
        raise UnknownError("its settings name no model")
    network = {"name_or_path": settings["from_pretrained"]}
    return Counts(size(network, read["corpus"].get("vocabulary", 0), known["networks"], has_output)._asdict())


def _rows(sequences: float, tokens: float) -> Counts:
    return Counts({"sequences": sequences, "tokens": tokens})


def short(number: float) -> str:
    """A number with three digits and a letter: 1.28B."""
    for size_, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= size_:
            return f"{number / size_:.3g}{letter}"
    return f"{number:.3g}" if number != int(number) else f"{int(number)}"
