"""Parameters of the networks that stages train or use, from their configurations: torch is not imported."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from qurating.pipeline.planning.counts import UnknownError
from qurating.runtime.revisions import is_local, without_pin

# architectures whose feed-forward block has two matrices; those of the family of Llama have three
_TWO_MATRICES = {"bert", "bloom", "distilbert", "electra", "falcon", "gpt2", "gpt_neo", "gpt_neox", "gptj", "opt"}
_TWO_MATRICES |= {"phi", "roberta", "xglm", "xlm-roberta"}
_LEARNED_POSITIONS = {"bert", "distilbert", "electra", "gpt2", "gpt_neo", "opt", "roberta", "xlm-roberta"}
_OTHER_NAMES = {
    "hidden_size": ("n_embd", "d_model", "dim"),
    "num_hidden_layers": ("n_layer", "num_layers", "n_layers"),
    "num_attention_heads": ("n_head", "num_heads", "attention_heads", "n_heads"),
    "intermediate_size": ("n_inner", "ffn_dim", "hidden_dim"),
}


class Size(NamedTuple):
    """`parameters`: of the whole network, as it is stored. `multiplied`: of them, those that each token is multiplied
    by: an embedding is looked up, so that it counts only as the output matrix. `multiplied_at_end`: of those, what is
    left where only the end of a text is read, as by a rater: of the last layer, keys and values."""

    parameters: float
    multiplied: float
    multiplied_at_end: float


def size(network: Mapping[str, Any], vocabulary: float, known: Mapping[str, Any], has_output: bool) -> Size:
    """The size of a network of the configuration.

    Args:
        network: with `model_type` and the settings of its configuration; or `name_or_path` of one that exists.
        vocabulary: rows of the embedding; of an existing network its own.
        known: configurations of networks at the Hub, by name (conf/rates.yaml).
        has_output: whether there is an output matrix for each token, as in a language model.

    Raises:
        UnknownError: a size that the configuration does not say, or an unknown network.
    """
    if "name_or_path" in network:
        network = _existing(str(network["name_or_path"]), known)
        vocabulary = network.get("vocab_size", vocabulary)
    kind = str(network.get("model_type"))
    hidden, layers = (_setting(network, name) for name in ("hidden_size", "num_hidden_layers"))
    heads = _setting(network, "num_attention_heads")
    inner = _setting(network, "intermediate_size", otherwise=4 * hidden if kind in _TWO_MATRICES else None)
    of_head = network.get("head_dim") or hidden / heads
    key_value_heads = network.get("num_key_value_heads") or heads
    attention = hidden * of_head * (2 * heads + 2 * key_value_heads)
    layer = attention + (2 if kind in _TWO_MATRICES else 3) * hidden * inner
    body = layers * layer
    positions = network.get("max_position_embeddings", 0) * hidden if kind in _LEARNED_POSITIONS else 0
    embedding = vocabulary * hidden
    is_tied = network.get("tie_word_embeddings", kind in _TWO_MATRICES)
    stored = body + positions + embedding * (2 if has_output and not is_tied else 1)
    at_end = body - layer + hidden * of_head * 2 * key_value_heads
    return Size(stored, body + (embedding if has_output else 0), at_end)


def _existing(name: str, known: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration of an existing network: of a folder, or one that is known."""
    if is_local(name):
        try:
            found: Mapping[str, Any] = json.loads(Path(name).expanduser().joinpath("config.json").read_bytes())
            return found
        except (OSError, ValueError):
            raise UnknownError(f"{name} has no readable config.json") from None
    bare, _ = without_pin(name)
    if bare not in known:
        raise UnknownError(f"conf/rates.yaml does not have the size of {name}, and a plan does not ask the Hub")
    entry: Mapping[str, Any] = known[bare]
    return entry


def _setting(network: Mapping[str, Any], name: str, otherwise: float | None = None) -> float:
    for key in (name, *_OTHER_NAMES[name]):
        if network.get(key):
            return float(network[key])
    if otherwise is None:
        raise UnknownError(f"the configuration of the network does not say its {name}")
    return otherwise
