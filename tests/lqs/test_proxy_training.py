"""The training of the proxy model."""

from pathlib import Path

import pytest
from annotation_example import annotate, make_inputs

from qurating.runtime.errors import StageError


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.mark.parametrize("on_bad_sample", ["stop", "skip"])
def test_a_training_that_diverges_blames_no_sample(shared: dict[str, Path], tmp_path: Path, on_bad_sample: str) -> None:
    with pytest.raises(StageError, match=r"at step \d: lower annotation.learning_rate"):
        annotate(tmp_path, shared, learning_rate=1e30, on_bad_sample=on_bad_sample)
