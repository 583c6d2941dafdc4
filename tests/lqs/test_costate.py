"""The co-state against autograd through the unrolled training, and when it is interrupted."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from annotation_example import SETTINGS, SlowLoop, make_inputs, proxy_sequences
from lightning_fabric import Fabric
from torch import Tensor
from transformers import AutoModelForCausalLM

from qurating.artifacts.seeds import seed_for
from qurating.lqs.costate import Costate
from qurating.lqs.proxy_training import ProxyTraining
from qurating.lqs.samples import BadSamples, Samples, draw_batches

NUM_STEPS: int = SETTINGS["num_steps"]
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def slow(inputs: dict[str, Path]) -> SlowLoop:
    return SlowLoop(inputs)


def a_costate(folder: Path, inputs: dict[str, Path]) -> tuple[Costate, ProxyTraining]:
    """As the stage makes it."""
    rows = [{key: row[key] for key in ("id", "document_id", "input_ids")} for row in proxy_sequences(inputs)]
    samples = Samples("proxy sequence", pa.Table.from_pylist(rows))
    targets = Samples("target example", pq.read_table(inputs["target"] / "target.parquet"))
    seed = seed_for(SETTINGS["seed"], "annotate_proxy", "batches")
    batches = draw_batches(np.arange(len(samples)), NUM_STEPS, SETTINGS["batch_size_sequences"], seed)
    network = AutoModelForCausalLM.from_pretrained(inputs["proxy_lm"], dtype=torch.float32).eval()
    bad = BadSamples(folder / "left_out", "stop")
    training = ProxyTraining(network, samples, batches, SETTINGS["learning_rate"], micro_batch_size=8, bad=bad)
    fabric = Fabric(accelerator="cpu", devices=1)
    file = folder / "costate.safetensors"
    return Costate(file, training, targets, fabric, hessian="exact", micro_batch_size=8, bad=bad), training


def trained(training: ProxyTraining) -> tuple[list[State], list[float]]:
    """θ_0 … θ_T, and the loss of each step."""
    states, losses = [copied(training)], []
    for t in range(NUM_STEPS):
        losses.append(training.step(t))
        states.append(copied(training))
    return states, losses


def copied(training: ProxyTraining) -> State:
    return {name: parameter.detach().clone() for name, parameter in training.model.named_parameters()}


def test_it_is_the_gradient_through_the_unrolled_training(
    inputs: dict[str, Path], slow: SlowLoop, tmp_path: Path
) -> None:
    costate, training = a_costate(tmp_path, inputs)
    states, losses = trained(training)
    assert losses == pytest.approx(slow.training_losses, rel=1e-4)
    for t in range(NUM_STEPS, 1, -1):
        training.model.load_state_dict(states[t], strict=False)
        costate.step_back()
        assert costate.step == t
        assert costate.vector is not None
        assert costate.vector.keys() == slow.states[t].keys()
        found = torch.cat([part.flatten().double() for part in costate.vector.values()])
        expected = torch.cat([part.flatten() for part in slow.costates[t]])
        assert (found - expected).norm() < 1e-3 * expected.norm()
    training.model.load_state_dict(states[1], strict=False)
    costate.measure_target(1)
    assert costate.step == 2
    for t in range(1, NUM_STEPS + 1):
        assert costate.target_losses[t] == pytest.approx(slow.target_losses[t], rel=1e-4)


def test_another_goes_on_from_what_is_on_disk(inputs: dict[str, Path], tmp_path: Path) -> None:
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole, training = a_costate(tmp_path / "whole", inputs)
    states, _ = trained(training)
    found: list[State] = []
    for times in (1, 3):  # all at once, or resumed at each step
        for t in range(NUM_STEPS, NUM_STEPS - 3, -1):
            if times == 3:
                whole, training = a_costate(tmp_path / "cut", inputs)
                assert whole.step == t + 1
            training.model.load_state_dict(states[t], strict=False)
            whole.step_back()
        assert whole.vector is not None
        found.append(whole.vector)
    assert all(torch.equal(part, found[1][name]) for name, part in found[0].items())
    again, _ = a_costate(tmp_path / "whole", inputs)
    assert again.target_losses == whole.target_losses
    assert sorted(again.target_losses) == [NUM_STEPS - 2, NUM_STEPS - 1, NUM_STEPS]
