"""The language model whose gradients score the proxy set: loading it, and checking that it can."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from qurating.lqs.per_sample_gradients import UnsupportedLayerError, norms_and_dots
from qurating.lqs.samples import Samples
from qurating.models.networks import check_vocabulary, num_positions
from qurating.runtime.errors import StageError
from qurating.runtime.revisions import loadable


def load(proxy_lm: Path | None, model: str | None, corpus: Path) -> PreTrainedModel:
    """The proxy model in float32, in evaluation mode.

    Args:
        proxy_lm: the folder of a model that was pre-trained here.
        model: a name at the Hub or a path, used if `proxy_lm` is None.
        corpus: a corpus artifact, tokenised with the model's tokenizer.

    Raises:
        StageError: no model is named, it cannot be loaded, the corpus has another tokenizer, or the network has too few
            embeddings for it.
    """
    source = str(proxy_lm or model or "")
    if not source:
        raise StageError("no proxy model is named: set annotation.model to a name at the Hub or a folder")
    try:
        tokenizer = AutoTokenizer.from_pretrained(**loadable(source))
        network = AutoModelForCausalLM.from_pretrained(**loadable(source), dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise StageError(
            f"the proxy model {source!r} cannot be loaded: {error}\n  If it is at the Hub, visit "
            f"https://huggingface.co/{source} to see that it exists and to ask for access, and put a token "
            "(https://huggingface.co/settings/tokens) into the environment variable HF_TOKEN"
        ) from error
    own = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    known, given = tokenizer.get_vocab(), own.get_vocab()
    different = [token for token, index in given.items() if known.get(token) != index]
    if different:
        raise StageError(
            f"{source} has another tokenizer than {corpus} ({len(different):,} tokens differ, such as "
            f"{different[0]!r}): set corpus.tokenizer={source}"
        )
    check_vocabulary(network, own, source)
    return network.eval()


def check_samples(network: PreTrainedModel, samples: Samples, targets: Samples) -> None:
    """Raise StageError for an empty set, a token without an embedding, or a sequence longer than the context."""
    context, rows = num_positions(network.config), network.get_input_embeddings().num_embeddings
    for group, way_out in ((samples, "lower corpus.sequence_length"), (targets, "shorten or split its texts")):
        if not len(group):
            raise StageError(f"no {group.kind} was found: the set is empty")
        if len(strange := np.flatnonzero((group.tokens < 0) | (group.tokens >= rows))):
            where = int(np.searchsorted(group.starts, strange[0], side="right")) - 1
            raise StageError(
                f"{group.name(where)} has the token id {group.tokens[strange[0]]:,}, and the proxy model has "
                f"embeddings for ids up to {rows - 1:,}: the artifact was changed, or is of another tokenizer"
            )
        longest = int(group.lengths.argmax())
        if context and group.lengths[longest] > context:
            raise StageError(
                f"{group.name(longest)} has {group.lengths[longest]:,} tokens, and the proxy model's context is "
                f"{context:,}: {way_out}"
            )


def check_layers(network: PreTrainedModel, batch: Mapping[str, torch.Tensor]) -> None:
    """Raise StageError for a network with a parameter for whose per-sample gradient no rule exists.

    Call this before the training, not after it. Any `batch` will do, also of one sample.
    """
    direction = {name: torch.zeros_like(p, requires_grad=False) for name, p in network.named_parameters()}
    try:
        norms_and_dots(network, batch, direction)
    except UnsupportedLayerError as error:
        raise StageError(
            f"the proxy model ({network.config.model_type}): {error}. Use a model of the families of Llama, Mistral, "
            "GPT-2, GPT-NeoX, OPT or XGLM (annotation.model)"
        ) from error
