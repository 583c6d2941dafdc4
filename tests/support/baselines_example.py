"""The stages that rate a corpus without a judge, with small settings."""

from pathlib import Path
from typing import Any

from qurating.stages.selection.measure_perplexity import measure_perplexity
from qurating.stages.selection.weigh_importance import weigh_importance


def weighed(output: Path, corpus: Path, target: Path | None, **changes: Any) -> Any:
    output.mkdir(exist_ok=True)
    settings: dict[str, Any] = {"num_buckets": 500, "smoothing": 1.0, "per_ngram": False, "num_workers": 1}
    settings |= {"shard": None, "num_shards": None}
    return weigh_importance(output=output, corpus=corpus, target=target, **(settings | changes))


def measured(output: Path, corpus: Path, language_model: Path | None, **changes: Any) -> Any:
    output.mkdir(exist_ok=True)
    settings: dict[str, Any] = {
        "from_pretrained": None,
        "kenlm": None,
        "files": None,
        "lower_case": False,
        "max_tokens": 20,
        "tokens_per_batch": 100,
        "precision": "32-true",
        "compilation": "never",
        "num_workers": 1,
        "shard": None,
        "num_shards": None,
        "accelerator": "cpu",
    }
    return measure_perplexity(output=output, corpus=corpus, language_model=language_model, **(settings | changes))
