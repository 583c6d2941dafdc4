"""The Hugging Face networks inside the Lightning modules: with random weights, or pre-trained."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from qurating.corpus.tokenizing import HasVocabulary, vocabulary_size
from qurating.runtime.errors import StageError
from qurating.runtime.revisions import loadable


@contextlib.contextmanager
def making(what: str) -> Iterator[None]:
    """Turn an error while a network is created into a StageError; `what` names the network."""
    try:
        yield
    except (ValueError, OSError, KeyError, ImportError) as error:  # what transformers raises
        raise StageError(f"{what} cannot be created: {str(error).strip()}") from error


def language_model(model_type: str, *, vocabulary_size: int, eos_token_id: int, **settings: Any) -> PreTrainedModel:
    """A causal language model with random weights, in float32.

    Args:
        model_type: an architecture of transformers, for example "llama" or "mistral".
        vocabulary_size: the highest id of the tokenizer of the corpus + 1.
        eos_token_id: of this tokenizer.
        settings: of the architecture's configuration (`hidden_size`, `num_hidden_layers`, ...).

    Raises:
        ValueError: a setting that the architecture does not know.
    """
    config = _config(model_type, settings)
    config.vocab_size = vocabulary_size
    config.bos_token_id = config.eos_token_id = eos_token_id
    # a padding token's embedding is zero and never trained; the end of text is a token like any other
    config.pad_token_id = None
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def pretrained_language_model(name_or_path: str, *, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """A pre-trained causal language model, in float32, to be trained further on the tokens of a tokenizer.

    Args:
        name_or_path: a folder or a name at the Hub; code in it is not run.
        tokenizer: of the corpus; its end-of-text token becomes that of the model.

    Raises:
        ValueError: the model was trained with another tokenizer than the one given, or has weights that do not fit.
        StageError: see `check_vocabulary`.
    """
    _check_tokenizer(name_or_path, tokenizer)
    network, loading = AutoModelForCausalLM.from_pretrained(
        **loadable(name_or_path), dtype=torch.float32, trust_remote_code=False, output_loading_info=True
    )
    if loading["missing_keys"]:
        raise ValueError(
            f"{name_or_path} is not a causal language model: its weights lack {sorted(loading['missing_keys'])[0]}"
        )
    check_vocabulary(network, tokenizer, name_or_path)
    network.config.eos_token_id = tokenizer.eos_token_id
    return network.train()  # transformers loads for evaluation, without dropout


def recompute_layers(network: PreTrainedModel) -> None:
    """Let a network in training keep the inputs of its layers alone, and compute the layers again for the gradients.

    Raises ValueError for an architecture that cannot.
    """
    # the older name gives warnings from transformers 5.23 on, or a release before; the newer is not in 5.17
    enable = getattr(network, "activation_checkpointing_enable", None) or network.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def check_vocabulary(network: PreTrainedModel, tokenizer: HasVocabulary, name: object) -> None:
    """Raise StageError for a network with too few embeddings for the ids of a tokenizer; too many do no harm.

    `name` is the folder of the network, or its name at the Hub.
    """
    size, rows = vocabulary_size(tokenizer), network.get_input_embeddings().num_embeddings
    if size > rows:
        raise StageError(
            f"{name}: the ids of its tokenizer end at {size - 1:,}, and its network has {rows:,} embeddings, for ids "
            f"up to {rows - 1:,}: a text with a higher id could not be read. Save it with the tokenizer that it was "
            f"trained with, or with more embeddings (network.resize_token_embeddings({size}))"
        )


def num_positions(config: PreTrainedConfig) -> int | None:
    """The number of positions that a configuration states; None if it states none, or has no limit (XLNet: -1)."""
    number: int | None = getattr(config, "max_position_embeddings", None)
    return number if number is not None and number > 0 else None


def max_tokens(network: PreTrainedModel) -> int | None:
    """The most tokens of a text that a network has positions for; None if its configuration does not say."""
    limit = num_positions(network.config)
    for module in network.modules():
        # RoBERTa and similar networks count positions from the padding token's index
        if isinstance(module, torch.nn.Embedding) and module.num_embeddings == limit and module.padding_idx is not None:
            return limit - module.padding_idx - 1
    return limit


def rater(
    model_type: str, *, tokenizer: PreTrainedTokenizerBase, criteria: list[str], **settings: Any
) -> PreTrainedModel:
    """A sequence classifier with random weights and one output per criterion, in float32; see `language_model`."""
    config = _config(model_type, settings)
    config.vocab_size = vocabulary_size(tokenizer)
    return AutoModelForSequenceClassification.from_config(_rating(config, tokenizer, criteria), dtype=torch.float32)


def pretrained_rater(name_or_path: str, *, tokenizer: PreTrainedTokenizerBase, criteria: list[str]) -> PreTrainedModel:
    """A pre-trained network under a new head with one output per criterion, in float32.

    Raises:
        ValueError: the network was trained with another tokenizer than the one given.
        StageError: see `check_vocabulary`.
    """
    _check_tokenizer(name_or_path, tokenizer)
    config = _rating(AutoConfig.from_pretrained(**loadable(name_or_path)), tokenizer, criteria)
    made = AutoModelForSequenceClassification.from_pretrained(
        **loadable(name_or_path), config=config, dtype=torch.float32
    )
    check_vocabulary(made, tokenizer, name_or_path)
    return made


def encoder(
    model_type: str, *, tokenizer: PreTrainedTokenizerBase, **settings: Any
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A network without a head, with random weights, in float32, and its tokenizer: the one given.

    Attention may be causal or not; see `language_model` for the settings.
    """
    config = _config(model_type, settings)
    config.vocab_size = vocabulary_size(tokenizer)
    config.bos_token_id = config.eos_token_id = config.pad_token_id = tokenizer.eos_token_id
    return AutoModel.from_config(config, dtype=torch.float32), tokenizer


def pretrained_encoder(
    name_or_path: str, *, tokenizer: PreTrainedTokenizerBase
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A pre-trained network without its head, in float32, and the tokenizer that it was trained with.

    Args:
        name_or_path: a name at the Hub, or a folder; code in it is not run.
        tokenizer: of the corpus; not used.

    Raises:
        StageError: see `check_vocabulary`.
    """
    own = AutoTokenizer.from_pretrained(**loadable(name_or_path), trust_remote_code=False)
    network = AutoModel.from_pretrained(**loadable(name_or_path), dtype=torch.float32, trust_remote_code=False)
    check_vocabulary(network, own, name_or_path)
    return network, own


def _check_tokenizer(name_or_path: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise ValueError for a pre-trained network whose tokenizer does not have the tokens of the one given."""
    known = AutoTokenizer.from_pretrained(**loadable(name_or_path), trust_remote_code=False).get_vocab()
    different = [token for token, index in tokenizer.get_vocab().items() if known.get(token) != index]
    if different:
        raise ValueError(
            f"{name_or_path} was trained with another tokenizer ({len(different):,} tokens differ, such as "
            f"{different[0]!r}): set corpus.tokenizer={name_or_path}"
        )


def _config(model_type: str, settings: dict[str, Any]) -> Any:
    config = AutoConfig.for_model(model_type)
    unknown = [key for key in settings if not hasattr(config, key)]
    if unknown:
        raise ValueError(f"the configuration of {model_type!r} has no {', '.join(unknown)}")
    return AutoConfig.for_model(model_type, **settings)


def _rating(config: Any, tokenizer: PreTrainedTokenizerBase, criteria: list[str]) -> Any:
    # a rated text holds no special token, so that padding shows where it ends; the end of text is the padding token of
    # a tokenizer without one (encoders count positions from theirs)
    config.bos_token_id = config.eos_token_id = tokenizer.eos_token_id
    config.pad_token_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    config.use_cache = False
    config.id2label = dict(enumerate(criteria))
    config.label2id = {name: index for index, name in enumerate(criteria)}
    return config
