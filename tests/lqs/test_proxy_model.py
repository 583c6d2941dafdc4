"""Proxy models that cannot be used, and their messages."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
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


def test_a_network_with_too_few_embeddings_is_refused_before_its_training(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    network = language_model()
    network.resize_token_embeddings(VOCABULARY - 1)
    network.save_pretrained(inputs["proxy_lm"])
    with pytest.raises(StageError, match=rf"the ids of its tokenizer end at {VOCABULARY - 1}, .* embeddings"):
        annotate(tmp_path / "out", inputs)


def test_a_token_without_an_embedding_is_named_with_its_sample(inputs: dict[str, Path], tmp_path: Path) -> None:
    file = inputs["target"] / "target.parquet"
    rows = pq.read_table(file).to_pylist()
    rows[2]["input_ids"][0] = VOCABULARY
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(file)), file)
    named = rf"target example of document '{rows[2]['document_id']}' has the token id {VOCABULARY}, and the proxy model"
    with pytest.raises(StageError, match=named):
        annotate(tmp_path / "out", inputs)
