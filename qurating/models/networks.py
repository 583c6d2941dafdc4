"""The Hugging Face networks inside the Lightning modules: from a configuration, or pre-trained."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel


def language_model(model_type: str, *, vocabulary_size: int, eos_token_id: int, **settings: Any) -> PreTrainedModel:
    """A causal language model with random weights, in float32.

    Args:
        model_type: an architecture of transformers, for example "llama" or "mistral".
        vocabulary_size, eos_token_id: of the corpus' tokenizer.
        settings: of the architecture's configuration (`hidden_size`, `num_hidden_layers`, ...).

    Raises:
        ValueError: a setting that the architecture does not know.
    """
    config = _config(model_type, settings)
    config.vocab_size = vocabulary_size
    config.bos_token_id = config.eos_token_id = config.pad_token_id = eos_token_id
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def rater(
    model_type: str, *, vocabulary_size: int, eos_token_id: int, criteria: list[str], **settings: Any
) -> PreTrainedModel:
    """A sequence classifier with random weights and one output a criterion, in float32; see `language_model`."""
    config = _config(model_type, settings)
    config.vocab_size = vocabulary_size
    return AutoModelForSequenceClassification.from_config(_rating(config, eos_token_id, criteria), dtype=torch.float32)


def pretrained_rater(
    name_or_path: str, *, vocabulary_size: int, eos_token_id: int, criteria: list[str]
) -> PreTrainedModel:
    """A pre-trained network under a new head with one output a criterion, in float32.

    Raises:
        ValueError: the corpus' tokenizer has ids that the network does not know.
    """
    config = _rating(AutoConfig.from_pretrained(name_or_path), eos_token_id, criteria)
    if config.vocab_size < vocabulary_size:
        raise ValueError(
            f"{name_or_path} knows {config.vocab_size} tokens, the corpus' tokenizer has {vocabulary_size}: "
            "set corpus.tokenizer to the tokenizer of the network"
        )
    return AutoModelForSequenceClassification.from_pretrained(name_or_path, config=config, dtype=torch.float32)


def _config(model_type: str, settings: dict[str, Any]) -> Any:
    config = AutoConfig.for_model(model_type)
    unknown = [key for key in settings if not hasattr(config, key)]
    if unknown:
        raise ValueError(f"the configuration of {model_type!r} has no {', '.join(unknown)}")
    return AutoConfig.for_model(model_type, **settings)


def _rating(config: Any, eos_token_id: int, criteria: list[str]) -> Any:
    config.bos_token_id = config.eos_token_id = config.pad_token_id = eos_token_id
    config.id2label = dict(enumerate(criteria))
    config.label2id = {name: index for index, name in enumerate(criteria)}
    return config
