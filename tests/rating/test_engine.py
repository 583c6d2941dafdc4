"""The rating engine against one window at a time."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rating_example import NETWORKS, averages, classifier, rated, save
from scorer_fixtures import corpus_of_paragraphs

from qurating.models.rating_networks import rating_network
from qurating.rating import engine as rating_engine
from qurating.rating.engine import Engine, batches
from qurating.runtime.errors import StageError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus_of_paragraphs(tmp_path_factory.mktemp("corpus"), num_paragraphs=80)


@pytest.fixture(scope="module")
def rater(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(classifier(), corpus, tmp_path_factory.mktemp("rater"))


@given(st.lists(st.integers(1, 100), max_size=60), st.integers(1, 900))
def test_every_window_goes_into_one_batch_of_at_most_the_budget(lengths: list[int], tokens_per_batch: int) -> None:
    given_lengths = np.array(lengths, np.int64)
    made = batches(given_lengths, 100, tokens_per_batch)
    assert sorted(i for batch in made for i in batch.windows) == list(range(len(lengths)))
    for batch in made:
        longest = given_lengths[batch.windows].max()
        assert longest <= batch.width <= min(100, longest + 31)
        assert len(batch.windows) == 1 or len(batch.windows) * batch.width <= tokens_per_batch
    full = {(len(batch.windows), batch.width) for batch in made[:-2]}
    assert len(full) == len({width for _, width in full}), "one shape per width"
    if len(made) > 1 and len(made[-1].windows) == 1:  # one window alone is compiled again
        assert tokens_per_batch // made[-2].width <= 2


@pytest.mark.parametrize("tokens_per_batch", [1, 150, 10_000])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_rates_as_one_window_at_a_time(name: str, tokens_per_batch: int) -> None:
    model = classifier(name)
    network = rating_network(model, 40)
    assert type(network) is NETWORKS[name][1]
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 41, 30)
    ids = rng.integers(1, 1500, lengths.sum()).astype(np.int32)
    engine = Engine(
        network,
        device=torch.device("cpu"),
        precision="32-true",
        compilation="never",
        max_tokens=40,
        tokens_per_batch=tokens_per_batch,
        pad_token_id=7,
    )
    done: list[int] = []
    found = engine.rate(ids, lengths, done.append)
    assert sum(done) == lengths.sum()
    with torch.inference_mode():
        alone = [
            model(torch.from_numpy(part.astype(np.int64))[None]).logits for part in np.split(ids, lengths.cumsum())[:-1]
        ]
    expected = torch.cat(alone).numpy()
    assert expected.std() > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


def test_every_layer_and_width_shares_one_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    rng = np.random.default_rng(0)
    lengths = np.concatenate([rng.integers(1, 33, 12 * int(rng.integers(3)) + 1), rng.integers(33, 65, 24)])
    ids = rng.integers(1, 1500, lengths.sum()).astype(np.int32)
    found = []
    for compilation in ("never", "always"):
        engine = Engine(
            rating_network(classifier(), 64),
            device=torch.device("cpu"),
            precision="32-true",
            compilation=compilation,
            max_tokens=64,
            tokens_per_batch=400,
            pad_token_id=7,
        )
        with torch._dynamo.config.patch(error_on_recompile=True):
            found.append(engine.rate(ids, lengths, lambda _: None))
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_without_a_compiler_rating_continues(
    corpus: Path, rater: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rated(tmp_path / "a", corpus, rater)

    def no_compiler(*_: Any, **__: Any) -> Any:
        def run(*_: Any, **__: Any) -> Any:
            raise RuntimeError("no C++ compiler here")

        return run

    monkeypatch.setattr(torch, "compile", no_compiler)
    monkeypatch.setattr(rating_engine, "_MEASURE_SECONDS", 0.0)
    monkeypatch.setattr(rating_engine, "_COMPILE_REPAYS_SECONDS", {"cpu": 0.0})
    rated(tmp_path / "b", corpus, rater)
    assert (
        "torch.compile fails (RuntimeError: no C++ compiler here): rating continues without it"
        in capsys.readouterr().out
    )
    np.testing.assert_array_equal(averages(tmp_path / "a"), averages(tmp_path / "b"))
    with pytest.raises(StageError, match="set compilation=never"):
        rated(tmp_path / "c", corpus, rater, compilation="always")
