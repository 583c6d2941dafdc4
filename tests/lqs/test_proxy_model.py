"""Proxy models that cannot be used, and their messages."""

import shutil
from pathlib import Path

import pytest
from annotation_example import VOCABULARY, annotate, language_model, make_inputs
from tokenizers import ByteLevelBPETokenizer
from transformers import PreTrainedTokenizerFast

from qurating.runtime.errors import StageError


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def inputs(shared: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """A copy, to be damaged."""
    shutil.copytree(shared["corpus"].parent, tmp_path / "inputs")
    return {name: tmp_path / "inputs" / path.name for name, path in shared.items()}


def test_a_network_without_rules_is_refused_before_its_training(inputs: dict[str, Path], tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "state_size": 4, "intermediate_size": 32, "time_step_rank": 2}
    language_model("mamba", **sizes).save_pretrained(inputs["proxy_lm"])
    with pytest.raises(StageError, match=r"\(mamba\): .*Llama, Mistral, .* or XGLM \(annotation.model\)"):
        annotate(tmp_path / "out", inputs)
    assert not list((tmp_path / "out").rglob("*.safetensors"))


def test_another_tokenizer_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(["other words"], vocab_size=VOCABULARY)
    PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer).save_pretrained(inputs["proxy_lm"])
    with pytest.raises(StageError, match=r"has another tokenizer than .*: set corpus.tokenizer="):
        annotate(tmp_path / "out", inputs)


def test_a_model_that_is_not_there_is_explained(shared: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"no proxy model is named: set annotation\.model"):
        annotate(tmp_path, shared | {"proxy_lm": None})
    with pytest.raises(StageError, match=r"cannot be loaded: (.|\n)*HF_TOKEN"):
        annotate(tmp_path, shared | {"proxy_lm": tmp_path / "nothing"})
