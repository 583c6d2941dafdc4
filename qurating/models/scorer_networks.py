"""The network of a scorer: an encoder, the mean of its states, one linear output. How it is kept in a folder."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from qurating.artifacts import StageError, read_json, write_json
from qurating.models.networks import max_tokens

HEAD, SETTINGS = "head.safetensors", "scorer.json"
# of the Hub only these are fetched; nothing that could hold code is among them
_PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model"]


class ScorerNetwork(nn.Module):
    """A score of a text: a linear function of the mean, over its tokens, of the last hidden states (DELT eq. 15).

    Args:
        encoder: any network of transformers with `last_hidden_state` in its output, causal or not.
    """

    def __init__(self, encoder: PreTrainedModel) -> None:
        super().__init__()
        if getattr(encoder.config, "is_encoder_decoder", False):
            raise ValueError(f"a scorer reads with an encoder or a decoder, and {encoder.config.model_type} is both")
        encoder.config.use_cache = False
        # the states of single tokens do not depend on it, and training on several devices waits for every gradient
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler.requires_grad_(False)
        self.encoder = encoder
        # some OPTs project their states back to the width of their embeddings
        width = getattr(encoder.config, "word_embed_proj_dim", encoder.config.hidden_size)
        self.head = nn.Linear(width, 1)
        self.train()  # what is pre-trained comes for evaluation, without its dropout

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Scores (W, 1), float32, of right-padded texts, int64 (W, T) each; masked tokens do not count."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.float()
        # in float32 also under autocast: bfloat16 has 128 numbers between 1 and 2, too few to rank by
        with torch.autocast(states.device.type, enabled=False):
            weights = attention_mask[:, :, None].float()
            return self.head((states * weights).sum(dim=1) / weights.sum(dim=1))

    def max_tokens(self) -> int | None:
        """The longest text that the encoder has positions for; None if it does not say."""
        return max_tokens(self.encoder)


class TrainedScorer(NamedTuple):
    """A trained scorer: `settings` holds what `save_scorer` was given."""

    network: ScorerNetwork
    tokenizer: PreTrainedTokenizerBase
    settings: dict[str, Any]


def save_scorer(
    folder: Path, network: ScorerNetwork, tokenizer: PreTrainedTokenizerBase, settings: dict[str, Any]
) -> None:
    """Write the encoder and its tokenizer as a Hugging Face folder, and beside them the head and the settings.

    `settings` has at least `max_tokens`, which a text may have at a time.
    """
    network.encoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    head = {name: weight.detach().cpu().contiguous() for name, weight in network.head.state_dict().items()}
    save_file(head, folder / HEAD)
    write_json(folder / SETTINGS, settings | {"pooling": "mean"})


def load_scorer(name_or_path: str | Path) -> TrainedScorer:
    """A scorer from a folder, or from the Hugging Face Hub; weights in safetensors alone, no code of others.

    Raises:
        StageError: it cannot be had; or a file of a scorer is missing or damaged, with the files that a scorer has.
    """
    folder = Path(name_or_path).expanduser()
    if not folder.is_dir():
        folder = _fetched(str(name_or_path))
    weights = [file.name for file in folder.glob("model*.safetensors")] or ["model.safetensors"]
    needed = ["config.json", *weights, "tokenizer_config.json", HEAD, SETTINGS]
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        raise StageError(
            f"{name_or_path} is no scorer: it lacks {', '.join(missing)}. A scorer has an encoder and its tokenizer as "
            f"transformers saves them (config.json, model.safetensors, tokenizer_config.json, ...), {HEAD} (weight and "
            f"bias of the linear output) and {SETTINGS} (max_tokens, pooling); train_scorer writes such a folder"
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
            raise ValueError(f"there is no {sorted(loading['missing_keys'])[0]} among its weights")
        network = ScorerNetwork(encoder)
        network.head.load_state_dict(load_file(folder / HEAD))
    except Exception as error:  # whatever four libraries raise for files that are not what they should be
        reason = f"no {error.args[0]}" if isinstance(error, KeyError) else str(error).strip()
        raise StageError(f"{name_or_path} cannot be loaded as a scorer: {type(error).__name__}: {reason}") from error
    return TrainedScorer(network.eval(), tokenizer, settings)


def _fetched(name: str) -> Path:
    from huggingface_hub import snapshot_download

    from qurating.hub_access import check_access

    check_access([name], [])
    try:
        return Path(snapshot_download(name, allow_patterns=_PATTERNS))
    except Exception as error:  # whatever the Hub, the network or the disk answers with, in many types
        raise StageError(f"{name} cannot be fetched from the Hub: {type(error).__name__}: {error}") from error
