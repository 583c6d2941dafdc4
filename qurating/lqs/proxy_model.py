"""The language model whose gradients score the proxy set: loading it, and refusing what it cannot do."""

from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from qurating.lqs.per_sample_gradients import UnsupportedLayerError, norms_and_dots
from qurating.lqs.samples import Samples
from qurating.models.networks import num_positions
from qurating.runtime.errors import StageError


def load(proxy_lm: Path | None, model: str | None, corpus: Path) -> PreTrainedModel:
    """The proxy model in float32, in evaluation mode.

    Args:
        proxy_lm: the folder of one that was pre-trained here.
        model: a name at the Hub or a path, taken without that.
        corpus: a corpus artifact, tokenised with the model's tokenizer.

    Raises:
        StageError: there is no model, it cannot be had, or the corpus' tokens mean something else to it.
    """
    source = str(proxy_lm or model or "")
    if not source:
        raise StageError("there is no proxy model: set annotation.model to a name at the Hub or a folder")
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        network = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise StageError(
            f"the proxy model {source!r} cannot be loaded: {error}\n  If it is at the Hub, visit "
            f"https://huggingface.co/{source} to see that it exists and to ask for access, and put a token "
            "(https://huggingface.co/settings/tokens) into the environment variable HF_TOKEN"
        ) from error
    known, given = tokenizer.get_vocab(), AutoTokenizer.from_pretrained(corpus / "tokenizer").get_vocab()
    strange = [token for token, index in given.items() if known.get(token) != index]
    if strange:
        raise StageError(
            f"{source} has another tokenizer than {corpus} ({len(strange):,} tokens differ, such as {strange[0]!r}): "
            f"set corpus.tokenizer={source}"
        )
    return network.eval()


def check_lengths(network: PreTrainedModel, samples: Samples, targets: Samples) -> None:
    """Raise StageError for a set that is empty, or a sequence longer than the network's context."""
    context = num_positions(network.config)
    for group, way_out in ((samples, "lower corpus.sequence_length"), (targets, "shorten or split its texts")):
        if not len(group):
            raise StageError(f"there is no {group.kind}: the set is empty")
        longest = int(group.lengths.argmax())
        if context and group.lengths[longest] > context:
            raise StageError(
                f"{group.name(longest)} has {group.lengths[longest]:,} tokens, and the proxy model's context is "
                f"{context:,}: {way_out}"
            )


def check_layers(network: PreTrainedModel, batch: Mapping[str, torch.Tensor]) -> None:
    """Raise StageError for a network with a parameter that the gradients' norms have no rule for.

    To be asked at once, not after the training. `batch` is any, a sample will do.
    """
    direction = {name: torch.zeros_like(p, requires_grad=False) for name, p in network.named_parameters()}
    try:
        norms_and_dots(network, batch, direction)
    except UnsupportedLayerError as error:
        raise StageError(
            f"the proxy model ({network.config.model_type}): {error}. Take a model of the families of Llama, Mistral, "
            "GPT-2, GPT-NeoX, OPT or XGLM (annotation.model)"
        ) from error
