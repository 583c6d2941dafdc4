"""LoRA with peft: a rater trains low-rank adapters and its head; the adapters end up in its plain weights."""

from typing import Any

from torch import nn
from transformers import PreTrainedModel


def adapted(network: PreTrainedModel, **settings: Any) -> nn.Module:
    """The network with adapters in its layers; adapters and head are trained, all else is frozen.

    Args:
        settings: of `peft.LoraConfig`: `r`, `lora_alpha`, `lora_dropout`, `target_modules` ("all-linear" by default).

    Raises:
        ValueError: peft is not installed; a setting that peft does not know, or that does not fit the network.
    """
    try:
        import peft
    except ImportError as error:
        raise ValueError(
            f"LoRA needs peft ({error}): pip install -e '.[lora]', or train all weights with rater.lora=null"
        ) from None
    settings = {"target_modules": "all-linear"} | settings
    try:
        # with this task type the head ("score" or "classifier") is trained in full
        return peft.get_peft_model(network, peft.LoraConfig(task_type="SEQ_CLS", **settings))
    except TypeError as error:
        raise ValueError(f"rater.lora: {error}") from error


def merged(network: Any) -> PreTrainedModel:
    """The plain network, with its adapters merged into its weights; a network without adapters is returned as it is."""
    return network.merge_and_unload() if hasattr(network, "merge_and_unload") else network
