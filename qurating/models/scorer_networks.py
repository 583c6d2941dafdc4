"""The network of a scorer (an encoder, the mean of its states, one linear output), and its folder on disk."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from qurating.artifacts.files import read_json, write_json
from qurating.corpus import tokenizing
from qurating.models.networks import check_vocabulary, max_tokens
from qurating.models.rating_networks import check_padding, mask_of, same_when_padded
from qurating.runtime import hub
from qurating.runtime.errors import StageError

HEAD, SETTINGS = "head.safetensors", "scorer.json"


class ScorerNetwork(nn.Module):
    """A score of a text: a linear function of the mean, over its tokens, of the last hidden states (DELT eq. 15).

    Args:
        encoder: any network of transformers with `last_hidden_state` in its output, causal or not.
    """

    def __init__(self, encoder: PreTrainedModel) -> None:
        super().__init__()
        if getattr(encoder.config, "is_encoder_decoder", False):
            raise ValueError(f"a scorer needs an encoder or a decoder, and {encoder.config.model_type} is both")
        encoder.config.use_cache = False
        # the states of single tokens do not depend on it, and training on several devices waits for every gradient
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler.requires_grad_(False)
        self.encoder = encoder
        # some OPTs project their states back to the width of their embeddings
        width = getattr(encoder.config, "word_embed_proj_dim", encoder.config.hidden_size)
        self.head = nn.Linear(width, 1)
        self.train()  # transformers loads networks in evaluation mode, without dropout

    def forward(self, input_ids: Tensor, attention_mask: Tensor, masked_attention: bool = True) -> Tensor:
        """Scores (W, 1), float32, of right-padded texts, int64 (W, T) each; masked tokens do not count.

        Without `masked_attention` the encoder sees masked tokens: correct for a causal one, and faster.
        """
        seen = attention_mask if masked_attention else None
        states = self.encoder(input_ids=input_ids, attention_mask=seen).last_hidden_state.float()
        # in float32 also under autocast: bfloat16 has 128 numbers between 1 and 2, too few to rank by
        with torch.autocast(states.device.type, enabled=False):
            weights = attention_mask[:, :, None].float()
            return self.head((states * weights).sum(dim=1) / weights.sum(dim=1))

    def max_tokens(self) -> int | None:
        """The most tokens of a text that the encoder has positions for; None if its configuration does not say."""
        return max_tokens(self.encoder)


class WindowScorer(nn.Module):
    """A scorer in the form that the rating engine runs (`qurating.models.rating_networks`); causal ones need no mask.

    Raises:
        StageError: padding changes the scores.
    """

    def __init__(self, network: ScorerNetwork) -> None:
        super().__init__()
        self.network = network.eval()
        self.head = network.head
        self.masked_attention = False  # tried first
        if not same_when_padded(self, self._masked, network.encoder):
            self.masked_attention = True
            check_padding(self, network.encoder)

    def _masked(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        return self.network(input_ids, mask_of(input_ids, lengths))

    def forward(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        return self.network(input_ids, mask_of(input_ids, lengths), self.masked_attention)


class TrainedScorer(NamedTuple):
    """A trained scorer: `settings` holds what `save_scorer` was given."""

    network: ScorerNetwork
    tokenizer: PreTrainedTokenizerBase
    settings: dict[str, Any]


def save_scorer(
    folder: Path, network: ScorerNetwork, tokenizer: PreTrainedTokenizerBase, settings: dict[str, Any]
) -> None:
    """Write the encoder and its tokenizer as a Hugging Face folder, with the head and the settings in it.

    `settings` has at least `max_tokens`, the most tokens of a window.
    """
    network.encoder.save_pretrained(folder)
    tokenizing.save(tokenizer, folder)
    head = {name: weight.detach().cpu().contiguous() for name, weight in network.head.state_dict().items()}
    save_file(head, folder / HEAD)
    write_json(folder / SETTINGS, settings | {"pooling": "mean"})


def load_scorer(name_or_path: str | Path) -> TrainedScorer:
    """A scorer from a folder, or from the Hugging Face Hub; reads safetensors alone, and runs no code in it.

    Raises:
        StageError: it cannot be fetched; or a file of a scorer is missing or damaged, with the files that a scorer has.
    """
    folder = hub.model_folder(name_or_path)
    weights = [file.name for file in folder.glob("model*.safetensors")] or ["model.safetensors"]
    needed = ["config.json", *weights, "tokenizer_config.json", HEAD, SETTINGS]
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        raise StageError(
            f"{name_or_path} is not a scorer: it lacks {', '.join(missing)}. A scorer has an encoder and its tokenizer "
            f"as transformers saves them (config.json, model.safetensors, tokenizer_config.json, ...), {HEAD} (weight "
            f"and bias of the linear output) and {SETTINGS} (max_tokens, pooling); train_scorer writes such a folder"
        )
    try:
        settings = read_json(folder / SETTINGS)
        if settings["pooling"] != "mean" or int(settings["max_tokens"]) < 1:
            raise ValueError(f"{SETTINGS} has pooling {settings['pooling']!r}, max_tokens {settings['max_tokens']!r}")
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        encoder, loading = AutoModel.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
        if loading["missing_keys"]:
            raise ValueError(f"its weights lack {sorted(loading['missing_keys'])[0]}")
        network = ScorerNetwork(encoder)
        network.head.load_state_dict(load_file(folder / HEAD))
    except StageError as error:  # it names the damaged file
        raise StageError(f"{name_or_path} cannot be loaded as a scorer: {error}") from None
    except Exception as error:  # four libraries raise all kinds of errors for damaged files
        reason = f"no {error.args[0]}" if isinstance(error, KeyError) else str(error).strip()
        raise StageError(f"{name_or_path} cannot be loaded as a scorer: {type(error).__name__}: {reason}") from error
    check_vocabulary(encoder, tokenizer, name_or_path)
    return TrainedScorer(network.eval(), tokenizer, settings)
