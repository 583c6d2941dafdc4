"""The scorer's predictions and gradients, spelt out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scorer_fixtures import MAX_TOKENS, annotation_of, corpus_of_paragraphs, network, scores_of
from transformers import AutoTokenizer

from qurating.corpus.windows import weighted_mean, windows
from qurating.models.optimization import Optimization
from qurating.models.scorer import Scorer
from qurating.models.scorer_networks import ScorerNetwork


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus_of_paragraphs(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def annotation(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return annotation_of(corpus, tmp_path_factory.mktemp("annotation") / "a")


@pytest.mark.parametrize("model_type", ["llama", "bert"])
@torch.no_grad()
def test_a_prediction_is_the_mean_over_windows_of_the_mean_over_tokens(
    corpus: Path, annotation: Path, model_type: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    made = ScorerNetwork(network(model_type)(tokenizer=tokenizer)[0]).eval()
    data = scores_of(corpus, annotation)
    samples = np.random.default_rng(0).permutation(len(data.labels))[:12]
    assert {len(windows(data.input_ids[i], MAX_TOKENS)) for i in samples} != {1}
    module = Scorer(made, 3.0, Optimization(torch.optim.AdamW, lambda *_: None, 0.0), 0)
    together = module(data.batch(samples))
    head, bias = made.head.weight[0], made.head.bias[0]
    for sample, found in zip(samples, together, strict=True):
        parts = windows(data.input_ids[sample], MAX_TOKENS)
        expected = []
        for part in parts:
            ids = torch.tensor(list(part))[None]
            states = made.encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
            expected.append(float(sum(state @ head for state in states) / len(part) + bias))
        assert float(found) == pytest.approx(weighted_mean(expected, [len(part) for part in parts]), abs=1e-5)


def test_the_split_of_a_step_changes_nothing(corpus: Path, annotation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scorer, "log", lambda *_, **__: None)
    encoder = network()(tokenizer=AutoTokenizer.from_pretrained(corpus / "tokenizer"))[0]
    module = Scorer(ScorerNetwork(encoder), 1.0, Optimization(torch.optim.AdamW, lambda *_: None, 0.0), 0)
    gradients = []
    for num_devices, micro_batch_size in ((1, 32), (2, 5)):
        data = scores_of(corpus, annotation, micro_batch_size)
        passes = data.accumulation(num_devices)
        module.zero_grad()
        for rank in range(num_devices):
            for batch in data.step_batches(1, rank, num_devices, passes):
                (module.training_step(batch, 0) / (passes * num_devices)).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]))
    assert gradients[0] == pytest.approx(gradients[1], abs=1e-5 * float(gradients[0].abs().max()))
    # and it is the gradient of the mean over the step, of labels that are clipped
    data = scores_of(corpus, annotation)
    module.zero_grad()
    whole = data.batch(data.step(1))
    ((module(whole) - whole["label"].clip(-1, 1)) ** 2).mean().backward()
    expected = torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])
    assert gradients[0] == pytest.approx(expected, abs=1e-5 * float(expected.abs().max()))
