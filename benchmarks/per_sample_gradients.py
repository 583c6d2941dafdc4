"""Seconds and memory of per-sample gradient norms and dot products, compared with the alternatives.

python benchmarks/per_sample_gradients.py      the paper's proxy model: 160M, 1024 tokens, one thread
python benchmarks/per_sample_gradients.py --size 42m --num-tokens 512 --batch-sizes 8
python benchmarks/per_sample_gradients.py --device cuda --batch-sizes 8 32 64

The alternatives: a plain forward and backward pass (the floor), `vmap(grad)` (the released way) and a loop of batch 1.
Each way runs in its own process. Measured are CPU seconds, or seconds on a GPU, and the peak of memory above weights
and direction.

On a CPU, glibc keeps freed blocks of up to 32 MB and cannot always reuse them: the peak then includes up to 500 MB of
free memory, and is not what was needed at one time. So every way runs with MALLOC_MMAP_THRESHOLD_=1000000, which
returns each large block at once. `--keep-freed` leaves glibc as it is.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZES = {
    "160m": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
    "42m": {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 8, "num_attention_heads": 6},
    "1m": {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 2, "num_attention_heads": 4},
}
WAYS = ("plain", "vmap", "loop", "ours", "ours bf16", "ours layers", "ours layers bf16", "plain bf16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="160m")
    parser.add_argument("--vocabulary-size", type=int, default=32_000)
    parser.add_argument("--num-tokens", type=int, default=1024)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS[:6]))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--keep-freed", action="store_true", help="let glibc keep freed memory, as it does by default")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help="also write the figures as JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options, options.one, options.batch_sizes[0])))
        return
    found = []
    print(f"{options.size}, {options.num_tokens} tokens, {options.device}: seconds a sample, MB above what was held")
    for batch_size in options.batch_sizes:
        figures = {way: _in_a_process(options, way, batch_size) for way in options.ways}
        found += [{"way": way, "batch_size": batch_size, **figure} for way, figure in figures.items()]
        plain = figures.get("plain", {})
        for way, figure in figures.items():
            if "error" in figure:
                print(f"  batch {batch_size:3} {way:18} {figure['error']}")
                continue
            ratios = ""
            if "seconds" in plain:
                ratios = f"   × plain: {figure['seconds'] / plain['seconds']:.2f} time, "
                ratios += f"{figure['megabytes'] / plain['megabytes']:.2f} memory"
            if "seconds" in figures.get("vmap", {}):
                ratios += f"   × vmap: {figure['seconds'] / figures['vmap']['seconds']:.2f} time, "
                ratios += f"{figure['megabytes'] / figures['vmap']['megabytes']:.2f} memory"
            mfu = f"   {figure['flops'] / 1e12:.2f} TFLOP/s" if "flops" in figure else ""
            line = f"{figure['seconds']:9.4f} s {figure['megabytes']:8.0f} MB{ratios}{mfu}"
            print(f"  batch {batch_size:3} {way:18} {line}", flush=True)
    if options.output:
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _in_a_process(options: argparse.Namespace, way: str, batch_size: int) -> dict[str, Any]:
    arguments = ["--one", way, "--size", options.size, "--num-tokens", str(options.num_tokens)]
    arguments += ["--vocabulary-size", str(options.vocabulary_size), "--repeats", str(options.repeats)]
    arguments += ["--batch-sizes", str(batch_size), "--device", options.device]
    allocator = {} if options.keep_freed else {"MALLOC_MMAP_THRESHOLD_": "1000000"}
    done = subprocess.run(
        [sys.executable, __file__, *arguments], capture_output=True, text=True, env=os.environ | allocator
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"killed by signal {-done.returncode}"]
        return {"error": lines[-1][:150]}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(options: argparse.Namespace, way: str, batch_size: int) -> dict[str, float]:
    """Seconds per sample and megabytes above weights and direction, of one way."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, logging

    sys.path.insert(0, str(Path(__file__).parent.parent))
    from qurating.lqs.per_sample_gradients import norms_and_dots

    logging.set_verbosity_error()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    attention = "eager" if way == "vmap" else "sdpa"
    sizes = SIZES[options.size] | {"vocab_size": options.vocabulary_size, "max_position_embeddings": 2048}
    config = AutoConfig.for_model("llama", **sizes)
    config.num_key_value_heads = config.num_attention_heads
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention).to(options.device).eval()
    direction = {name: torch.randn_like(p) for name, p in model.named_parameters()}
    input_ids = torch.randint(3, options.vocabulary_size, (batch_size, options.num_tokens), device=options.device)
    batch = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids), "labels": input_ids}

    def plain() -> None:
        with torch.autocast(options.device, torch.bfloat16, enabled="bf16" in way):
            loss = model(input_ids=input_ids, labels=input_ids, use_cache=False).loss
        loss.backward()
        model.zero_grad()

    def loop() -> None:
        for n in range(batch_size):
            model(input_ids=input_ids[n : n + 1], labels=input_ids[n : n + 1], use_cache=False).loss.backward()
            sum(p.grad.norm().square() for p in model.parameters())
            sum((p.grad * direction[name]).sum() for name, p in model.named_parameters())
            model.zero_grad()

    def vmap() -> None:
        parameters = {name: p.detach() for name, p in model.named_parameters()}
        # an explicit mask, so that none is created inside vmap
        allowed = torch.ones(options.num_tokens, options.num_tokens, device=options.device).tril()[None, None]
        mask = (1 - allowed) * torch.finfo(torch.float32).min

        def loss(parameters: Any, ids: Any) -> Any:
            given = {"input_ids": ids[None], "attention_mask": mask, "use_cache": False}
            logits = torch.func.functional_call(model, parameters, (), given).logits
            return torch.nn.functional.cross_entropy(logits[0, :-1], ids[1:])

        gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, input_ids)
        sum(g.flatten(1).norm(dim=1).square() for g in gradients.values())
        sum((g * direction[name]).flatten(1).sum(1) for name, g in gradients.items())

    def ours() -> None:
        with torch.autocast(options.device, torch.bfloat16, enabled="bf16" in way):
            norms_and_dots(model, batch, direction, layer_checkpointing="layers" in way)

    run: Callable[[], None] = {"plain": plain, "vmap": vmap, "loop": loop, "ours": ours}[way.split()[0]]
    seconds, megabytes = (_on_gpu if options.device == "cuda" else _on_cpu)(run, options.repeats)
    embedding = options.vocabulary_size * config.hidden_size
    active = sum(p.numel() for p in model.parameters()) - embedding
    attention_flops = 2 * config.num_hidden_layers * options.num_tokens * config.hidden_size  # causal: half of 4 T d
    flops = 3 * options.num_tokens * (2 * active + attention_flops) * batch_size / seconds
    return {"seconds": seconds / batch_size, "megabytes": megabytes, "flops": flops}


def _on_cpu(run: Callable[[], None], repeats: int) -> tuple[float, float]:
    """CPU seconds of the quickest run, and the peak memory of the process above its memory before."""
    held = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # reset the peak
    seconds = []
    for _ in range(repeats):
        before = resource.getrusage(resource.RUSAGE_SELF)
        run()
        after = resource.getrusage(resource.RUSAGE_SELF)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(seconds), _status("VmHWM") - held


def _status(key: str) -> float:
    """The value of a line of /proc/self/status, in MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def _on_gpu(run: Callable[[], None], repeats: int) -> tuple[float, float]:
    """Seconds of the quickest run, and the peak of allocated memory above that before."""
    import torch

    run()
    torch.cuda.synchronize()
    held = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds), (torch.cuda.max_memory_allocated() - held) / 2**20


if __name__ == "__main__":
    main()
