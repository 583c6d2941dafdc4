"""Sizes of networks from their configurations, against the networks themselves on torch's meta device."""

from typing import Any

import pytest
import torch
from hydra import compose
from omegaconf import OmegaConf
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from qurating.models import networks
from qurating.pipeline.planning.counts import UnknownError
from qurating.pipeline.planning.networks import size
from qurating.pipeline.planning.rates import table

VOCABULARY = 32_000


def matrices(network: torch.nn.Module) -> int:
    """Parameters of all matrices that tokens are multiplied by, counted by the modules that multiply."""
    return sum(module.weight.numel() for module in network.modules() if isinstance(module, torch.nn.Linear))


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize("scale", ["paper", "embedded", "smoke"])
@pytest.mark.parametrize("experiment", ["select_and_train", "lqs_scorer"])
def test_language_models_of_the_configuration(scale: str, experiment: str) -> None:
    config = compose("config", [f"+experiment={experiment}", f"scale={scale}"])
    given: dict[str, Any] = OmegaConf.to_container(config.model.network, resolve=True)  # type: ignore[assignment]
    found = size(given, VOCABULARY, {}, has_output=True)
    arguments = {key: value for key, value in given.items() if not key.startswith("_")}
    with torch.device("meta"):
        network = networks.language_model(vocabulary_size=VOCABULARY, eos_token_id=0, **arguments)
    assert found.parameters == pytest.approx(network.num_parameters(), rel=0.02)  # norms are not counted
    assert found.multiplied == pytest.approx(matrices(network), rel=0.001)


@pytest.mark.parametrize(
    "given",
    [
        {"model_type": "bert", "hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4},
        {"model_type": "gpt_neox", "hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4},
        {"model_type": "qwen2", "hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4},
    ],
    ids=lambda given: given["model_type"],
)
def test_other_architectures(given: dict[str, Any]) -> None:
    given = {**given, "intermediate_size": 384, "num_key_value_heads": 2, "vocab_size": VOCABULARY}
    if given["model_type"] != "qwen2":
        del given["num_key_value_heads"]
    with torch.device("meta"):
        network = AutoModel.from_config(AutoConfig.for_model(**given))
    pooler = given["hidden_size"] ** 2 if given["model_type"] == "bert" else 0  # not used
    found = size({"max_position_embeddings": 512, **given}, VOCABULARY, {}, has_output=False)
    assert found.multiplied == pytest.approx(matrices(network) - pooler, rel=0.001)
    assert found.parameters == pytest.approx(network.num_parameters() - pooler, rel=0.02)


def test_known_models_of_the_hub_have_the_sizes_of_their_names() -> None:
    known = table()["networks"]
    for name, millions in {
        "princeton-nlp/Sheared-LLaMA-1.3B": 1345,
        "princeton-nlp/Sheared-LLaMA-2.7B": 2700,
        "meta-llama/Llama-2-7b-hf": 6738,
        "mistralai/Mistral-7B-v0.1": 7242,
        "Data-Selection/BSL-160M": 162,
        "KoboldAI/fairseq-dense-125M": 125,
        "gpt2": 124,
    }.items():
        found = size({"name_or_path": name}, 0, known, has_output=True)
        assert found.parameters / 1e6 == pytest.approx(millions, rel=0.02), name


def test_a_rater_reads_the_end_alone() -> None:
    """The last layer computes keys and values of all tokens, the rest of it for the last token alone."""
    one = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    found = size({**one, "num_hidden_layers": 1}, 100, {}, has_output=False)
    assert found.multiplied_at_end == 2 * 64 * 64
    deeper = size({**one, "num_hidden_layers": 3}, 100, {}, has_output=False)
    assert deeper.multiplied_at_end == 2 * found.multiplied + found.multiplied_at_end


def test_a_folder_has_its_configuration(tmp_path: Any) -> None:
    config = AutoConfig.for_model("gpt2", n_embd=64, n_layer=2, n_head=2, vocab_size=500, n_positions=32)
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config)
    config.save_pretrained(tmp_path)
    found = size({"name_or_path": str(tmp_path)}, 0, {}, has_output=True)
    assert found.parameters == pytest.approx(network.num_parameters(), rel=0.03)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name_or_path": "lab/unheard-of"}, "lab/unheard-of"),
        ({"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}, "intermediate"),
        ({"model_type": "mamba", "hidden_size": 64, "num_hidden_layers": 2}, "num_attention_heads"),
    ],
)
def test_what_is_not_said_is_unknown(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UnknownError, match=said):
        size(given, 100, {}, has_output=True)
