"""Memory per device and time of training a language model, estimated without a device.

python benchmarks/memory_estimate.py --model 1.3b --devices 8 --num-tokens 30e9            some seconds
python benchmarks/memory_estimate.py --model 160m --devices 1 --micro-batch-size 8 --num-tokens 1e9
python benchmarks/memory_estimate.py --check                a small model, trained on the CPU: estimate and measurement

What autograd keeps from a forward pass to the backward pass is counted on fake tensors, which have a size and no
content, of networks of one and two layers. The rest are formulas, see `memory`. It leaves out what the CUDA context,
the communication and fragments of memory take: some gigabytes.
"""

import argparse
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

STATE = 16  # bytes per parameter: weight, gradient and two states of Adam, each in float32
CHECKED = {"model_type": "llama", "hidden_size": 512, "intermediate_size": 1408, "num_attention_heads": 8}
CHECKED_LAYERS, CHECKED_VOCABULARY, CHECKED_BATCH = 6, 4_000, (8, 256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="1.3b", help="a choice of conf/model")
    parser.add_argument("--vocabulary-size", type=int, default=32_000)
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--micro-batch-size", type=int, help="of the preset, if not given")
    parser.add_argument("--num-tokens", type=float, default=30e9, help="of the training")
    parser.add_argument("--tflops", type=float, default=989.0, help="of a device; 989: an H100, bfloat16, data sheet")
    parser.add_argument("--mfu", type=float, default=0.33, help="of these; 0.33 was measured for 1.3b on an H200")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(measured())
    elif options.check:
        check()
    else:
        show(options)


def show(options: argparse.Namespace) -> None:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from qurating.pipeline.resolvers import register_resolvers

    register_resolvers()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        preset: Any = OmegaConf.to_container(compose("config", [f"model={options.model}"]).model, resolve=True)
    settings = {key: value for key, value in preset["network"].items() if not key.startswith("_")}
    layers = settings.pop("num_hidden_layers")
    batch = (options.micro_batch_size or preset["micro_batch_size"], preset["sequence_length"])
    print(
        f"{options.model}: {options.devices} devices, {batch[0]} sequences of {batch[1]:,} tokens per pass, bf16-mixed"
    )
    for trainer in ("gpu", "fsdp"):
        for again in (False, True):
            found = memory(
                settings,
                layers,
                options.vocabulary_size,
                batch,
                "bf16-mixed",
                options.devices,
                trainer == "fsdp",
                again,
            )
            parts = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in found.items())
            chosen = f"trainer={trainer} model.gradient_checkpointing={str(again).lower()}"
            print(f"  {chosen:50} {sum(found.values()) / 1e9:5.1f} GB: {parts}")
    flops = per_token(settings | {"num_hidden_layers": layers}, options.vocabulary_size, batch[1])
    rate = options.tflops * 1e12 * options.mfu / flops
    hours = options.num_tokens / rate / 3600
    print(
        f"  {flops / 1e9:.2f} GFLOP per token, {rate:,.0f} tokens per second and device at {options.mfu:.0%} of "
        f"{options.tflops:.0f} TFLOP/s: {hours:,.0f} device-hours, {hours / options.devices:,.1f} hours"
    )


def memory(
    settings: dict[str, Any],
    layers: int,
    vocabulary_size: int,
    batch: tuple[int, int],
    precision: str,
    devices: int,
    is_sharded: bool,
    again: bool,
) -> dict[str, float]:
    """Bytes on each device, by what they are for.

    Args:
        settings: of `networks.language_model`, without the number of layers.
        batch: sequences of a forward pass, and their tokens.
        is_sharded: the devices share weights, gradients and the optimizer's states (FSDP2); else each has all, and
            several devices a second copy of the gradients, in which they are exchanged (DDP).
        again: layers are computed again in the backward pass.
    """
    one, two = (kept(settings | {"num_hidden_layers": n}, vocabulary_size, batch, precision) for n in (1, 2))
    layer, rest = two[0] - one[0], 2 * one[0] - two[0]
    layer_parameters = two[1] - one[1]
    others = one[1] - layer_parameters  # embeddings and head
    parameters = others + layers * layer_parameters
    state = STATE * parameters / (devices if is_sharded else 1)
    # gathered: embeddings and head with their gradients, and two layers with theirs
    exchanged = 8 * others + 16 * layer_parameters if is_sharded else 4 * parameters if devices > 1 else 0
    inputs = 4 * batch[0] * batch[1] * settings["hidden_size"]  # of a layer, in float32
    kept_in_layers = layers * inputs + layer if again else layers * layer
    return {
        "weights and optimizer": state,
        "gathered or exchanged": exchanged,
        "activations": rest + kept_in_layers,
        "logits": LOGITS,
    }


LOGITS = 3 * 4 * 2**25  # of a part, their gradients and a copy: models/likelihood.py


def kept(settings: dict[str, Any], vocabulary_size: int, batch: tuple[int, int], precision: str) -> tuple[int, int]:
    """Bytes that autograd keeps of a forward pass up to the head, but for the weights, and the number of weights."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from qurating.models import networks

    storages = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages[storage._cdata] = storage
        return tensor

    with FakeTensorMode():
        network = networks.language_model(**settings, vocabulary_size=vocabulary_size, eos_token_id=0)
        ids = torch.zeros(batch, dtype=torch.int64)
        enabled = precision == "bf16-mixed"
        with (
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
            torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled),
        ):
            states = network.base_model(input_ids=ids, use_cache=False).last_hidden_state
        weights = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
        found = sum(storage.nbytes() for key, storage in storages.items() if key not in weights)
        return found + states.untyped_storage().nbytes(), network.num_parameters()


def per_token(settings: dict[str, Any], vocabulary_size: int, sequence_length: int) -> float:
    import torch

    from qurating.models import networks
    from qurating.training.flops import flops_per_token

    with torch.device("meta"):
        network = networks.language_model(**settings, vocabulary_size=vocabulary_size, eos_token_id=0)
    return flops_per_token(network, sequence_length)


def check() -> None:
    """Compare the estimate with the memory by which a process grows when it trains a small model on the CPU."""
    found = memory(CHECKED, CHECKED_LAYERS, CHECKED_VOCABULARY, CHECKED_BATCH, "32-true", 1, False, False)
    estimate = sum(found.values()) - LOGITS + 3 * 4 * CHECKED_BATCH[0] * CHECKED_BATCH[1] * CHECKED_VOCABULARY
    done = subprocess.run(
        [sys.executable, __file__, "--measure"], stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT
    )
    grown = float(done.stdout.splitlines()[-1])
    print(f"estimated {estimate / 1e6:,.0f} MB, measured {grown / 1e6:,.0f} MB: {estimate / grown:.2f}")


def measured() -> float:
    """Bytes by which this process grows with a small network and two steps of training."""
    import torch

    from qurating.models import networks

    torch.mm(torch.ones(64, 64), torch.ones(64, 64))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    network = networks.language_model(
        **CHECKED, num_hidden_layers=CHECKED_LAYERS, vocabulary_size=CHECKED_VOCABULARY, eos_token_id=0
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    ids = torch.randint(0, CHECKED_VOCABULARY, CHECKED_BATCH)
    for _ in range(2):
        network(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


if __name__ == "__main__":
    main()
