"""CPU seconds of evaluating a language model on held-out text, whole process, compared with a plain script.

python benchmarks/evaluating.py                      the demo's held-out text, 0.66M parameters, one thread: minutes
taskset -c 0 python benchmarks/evaluating.py --rounds 5 --artifacts /tmp/evaluating      on one core; keeps the corpus

The plain script loads model and tokenizer with transformers and the held-out shards with pyarrow, and computes the
logits of 16 sequences at a time, in the order of the corpus, padded, with an attention mask. Ours is the command
`python run.py 'stage=[evaluate]'`, which also compares its inputs with their SHA-256 and writes the loss of every
sequence. Both compute in float32. Each way runs in its own process, in turns; the best round of each counts.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
MODEL = "models/evaluated"
COMMON = [
    "hydra.mode=RUN",
    "selection=uniform",
    "num_tokens=30_000",  # a short training: speed does not depend on it
    "corpus.sequence_length=256",
    "model.network.hidden_size=128",  # 0.66M parameters
    "model.network.intermediate_size=352",
    "artifacts.prepare_corpus=corpora/embedded",
    f"artifacts.train_lm={MODEL}",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="take turns so many times, and keep each way's best")
    parser.add_argument("--artifacts", type=Path, help="where corpus and model are kept (a temporary folder)")
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        print(json.dumps(plain(options.plain)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        artifacts = (options.artifacts or Path(temporary)).resolve()
        ours(artifacts, temporary, ["prepare_corpus", "select", "order", "train_lm"])
        best: dict[str, dict[str, float]] = {}
        for _ in range(options.rounds):
            for way in ("plain", "ours"):
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                nats = _plain_process(artifacts) if way == "plain" else _our_process(artifacts, temporary)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                if way not in best or seconds < best[way]["seconds"]:
                    best[way] = {"seconds": seconds, "nats": nats}
    for way, one in best.items():
        print(f"  {way:6} {one['seconds']:6.1f} CPU seconds, {one['nats']:.6f} nats per token")
    print(f"  ours × plain: {best['ours']['seconds'] / best['plain']['seconds']:.2f}")


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def ours(artifacts: Path, folder: str, stages: list[str]) -> None:
    command = [sys.executable, str(ROOT / "run.py"), *COMMON, f"stage=[{','.join(stages)}]"]
    given = [f"paths.artifacts={artifacts}", f"hydra.run.dir={folder}/run"]
    subprocess.run([*command, *given], check=True, env=_environment(), stdout=subprocess.DEVNULL)


def _our_process(artifacts: Path, folder: str) -> float:
    shutil.rmtree(artifacts / "evaluations", ignore_errors=True)
    ours(artifacts, folder, ["evaluate"])
    (file,) = (artifacts / "evaluations").glob("*/metrics.json")
    nats: float = json.loads(file.read_text(encoding="utf-8"))["overall"]["nats_per_token"]
    return nats


def _plain_process(artifacts: Path) -> float:
    command = [sys.executable, __file__, "--plain", str(artifacts)]
    done = subprocess.run(command, check=True, env=_environment(), stdout=subprocess.PIPE, text=True)
    return float(done.stdout.splitlines()[-1])


def plain(artifacts: Path) -> float:
    """Nats per token of all held-out sequences, each read after one end-of-text token."""
    import pyarrow.parquet as pq
    import torch
    from torch.nn.functional import cross_entropy
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    model: Any = AutoModelForCausalLM.from_pretrained(artifacts / MODEL, dtype=torch.float32).eval()
    eos = AutoTokenizer.from_pretrained(artifacts / MODEL).eos_token_id
    sequences = pq.read_table(artifacts / "corpora/embedded/heldout")["input_ids"].to_pylist()
    total, count = 0.0, 0
    with torch.no_grad():
        for start in range(0, len(sequences), 16):
            batch = [torch.tensor([eos, *ids]) for ids in sequences[start : start + 16]]
            inputs = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True, padding_value=eos)
            mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(ids) for ids in batch], batch_first=True)
            logits = model(input_ids=inputs, attention_mask=mask).logits[:, :-1]
            kept = mask[:, 1:].bool()
            total += float(cross_entropy(logits[kept], inputs[:, 1:][kept], reduction="sum"))
            count += int(kept.sum())
    return total / count


if __name__ == "__main__":
    main()
