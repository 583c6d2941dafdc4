"""Tokens per second and memory of rating a corpus, compared with the released loop.

python benchmarks/rating.py                        fp32, 200K tokens, one thread: some minutes
taskset -c 0 python benchmarks/rating.py --num-tokens 2_000_000 --rounds 2 --precisions bf16-true    on one core
python benchmarks/rating.py --device cuda --size 1.3b --num-tokens 5_000_000 --precisions bf16-true

A Llama classifier with four outputs and random weights reads the text of this Python installation in windows of 512
tokens. The released way: maps over batches of 512 documents, windows sorted by length within each batch, 16 windows per
forward pass, padded, with a mask, ratings picked from the logits of every position. Each way runs in its own process,
from the corpus to ratings on disk. Seconds are CPU seconds (user and system), or wall seconds on a GPU; the processes
of the compiler count as well. Steady: without loading, and without the first three batches. On a GPU, the utilisation
is relative to the matrix multiplication rate measured there.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SIZES = {  # 3.2m: without the embedding, as 1.3b
    "3.2m": {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4, "num_attention_heads": 4},
    "1.3b": {"hidden_size": 2048, "intermediate_size": 5504, "num_hidden_layers": 24, "num_attention_heads": 16},
}
WAYS = ("released", "ours", "ours compiled")
CRITERIA = ["a", "b", "c", "d"]
MAX_TOKENS = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="3.2m")
    parser.add_argument("--num-tokens", type=int, default=200_000)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--precisions", nargs="+", choices=("32-true", "bf16-true"), default=["32-true"])
    parser.add_argument("--tokens-per-batch", type=int, help="ours; default: the framework's")
    parser.add_argument("--rounds", type=int, default=1, help="take turns so many times, and keep each way's best")
    parser.add_argument("--cold", action="store_true", help="the compiled way once: without a warm cache")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--output", type=Path, help="also write the figures as JSON")
    parser.add_argument("--one", nargs=3, metavar=("WAY", "PRECISION", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options, *options.one)))
        return
    with tempfile.TemporaryDirectory() as folder:
        prepared = _in_a_process(options, "prepare", "32-true", folder)
        print(f"{options.size}, {prepared['tokens']:,} tokens in {prepared['sequences']:,} sequences, {options.device}")
        found = []
        for precision in options.precisions:
            if "ours compiled" in options.ways and not options.cold:
                _in_a_process(options, "ours compiled", precision, folder)  # fills the compiler's cache
            best: dict[str, dict[str, Any]] = {}
            for _ in range(options.rounds):
                for way in options.ways:
                    figures = _in_a_process(options, way, precision, folder)
                    if way not in best or figures["steady"] > best[way]["steady"]:
                        best[way] = {"way": way, "precision": precision, **figures}
            for figures in best.values():
                _show(figures, best.get("released"))
            found += best.values()
        _show_agreement(Path(folder), options)
    if options.output:
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _show(one: dict[str, Any], released: dict[str, Any] | None) -> None:
    ratios = ""
    if released is not None and released is not one:
        whole, steady = (one[key] / released[key] for key in ("whole", "steady"))
        ratios = f"   × released: {whole:.2f} whole, {steady:.2f} steady, {one['mb'] / released['mb']:.2f} memory"
    mfu = f"   {one['mfu']:.0%} of the matmul rate" if "mfu" in one else ""
    print(
        f"  {one['precision']:9} {one['way']:14} {one['whole']:9,.0f} tokens/s whole run {one['steady']:9,.0f} steady "
        f"{one['mb']:6,.0f} MB{ratios}{mfu}",
        flush=True,
    )


def _show_agreement(folder: Path, options: argparse.Namespace) -> None:
    import numpy as np

    ratings = {file.stem: np.load(file) for file in sorted(folder.glob("*.npy"))}
    for precision in options.precisions:
        reference = ratings.get(f"released {precision}")
        for way in options.ways:
            if reference is not None and way != "released":
                off = np.abs(ratings[f"{way} {precision}"] - reference).max()
                print(f"  {precision:9} {way:14} differs from released by {off:.1e} at most, of a spread of "
                      f"{reference.std(axis=0).mean():.2f}")  # fmt: skip


def _in_a_process(options: argparse.Namespace, way: str, precision: str, folder: str) -> dict[str, Any]:
    arguments = ["--one", way, precision, folder, "--size", options.size, "--device", options.device]
    arguments += ["--num-tokens", str(options.num_tokens)]
    if options.tokens_per_batch:
        arguments += ["--tokens-per-batch", str(options.tokens_per_batch)]
    done = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(options: argparse.Namespace, way: str, precision: str, folder: str) -> dict[str, Any]:
    """Measurements of one way; its ratings stay in the folder."""
    import numpy as np
    import torch
    from transformers import logging

    sys.path.insert(0, str(ROOT))
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    place = Path(folder)
    if way == "prepare":
        return prepare(options, place)
    clock = time.perf_counter if options.device == "cuda" else _cpu_seconds
    base_mb = _peak_mb()  # after the imports
    marks: list[tuple[float, int]] = []  # seconds, tokens done

    def mark(num_tokens: int) -> None:
        if options.device == "cuda":
            torch.cuda.synchronize()
        marks.append((clock(), num_tokens))

    started = clock()
    run = released if way == "released" else ours
    ratings = run(place, precision, way == "ours compiled", options, mark)
    seconds = clock() - started
    np.save(place / f"{way} {precision}.npy", ratings)
    num_tokens = sum(count for _, count in marks)
    steady = sum(count for _, count in marks[3:]) / (marks[-1][0] - marks[2][0])
    mb = torch.cuda.max_memory_allocated() / 2**20 if options.device == "cuda" else _peak_mb()
    found = {"whole": num_tokens / seconds, "steady": steady, "mb": mb, "imports_mb": base_mb}
    if options.device == "cuda":
        found["mfu"] = steady * _flops_a_token(options.size) / _matmul_rate(precision)
    return found


def prepare(options: argparse.Namespace, folder: Path) -> dict[str, int]:
    """A corpus of real text, with a tokenizer of up to 32,000 tokens, and a rater."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    from qurating.artifacts.files import write_json, write_table
    from qurating.corpus import tokenizing
    from qurating.corpus.embedded import Embedded

    texts, characters = [], 0
    for document in Embedded(max_characters_per_domain=max(100_000, options.num_tokens)):
        texts.append(document.text)
        characters += len(document.text)
    tokenizing.train_bpe(texts, 32_000, folder / "corpus/tokenizer")
    tokenizer = tokenizing.load(folder / "corpus/tokenizer")
    rows: dict[str, list[Any]] = {"id": [], "text": [], "input_ids": [], "length": []}
    generator = torch.Generator().manual_seed(0)
    num_tokens = 0
    for index in torch.randperm(len(texts), generator=generator).tolist():
        for piece in tokenizing.pieces(texts[index], tokenizer, 2048):
            rows["id"].append(len(rows["id"]))
            rows["text"].append(piece.text)
            rows["input_ids"].append(piece.input_ids)
            rows["length"].append(len(piece.input_ids))
            num_tokens += len(piece.input_ids)
        if num_tokens >= options.num_tokens:
            break
    columns = rows | {"input_ids": pa.array(rows["input_ids"], pa.list_(pa.int32()))}
    write_table(folder / "corpus/train/00000.parquet", pa.table(columns))
    torch.manual_seed(0)
    sizes = SIZES[options.size] | {"vocab_size": 32_000, "max_position_embeddings": 2048, "num_labels": len(CRITERIA)}
    config = AutoConfig.for_model("llama", **sizes, pad_token_id=0)
    config.num_key_value_heads = config.num_attention_heads
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder / "rater")
    AutoTokenizer.from_pretrained(folder / "corpus/tokenizer").save_pretrained(folder / "rater")
    write_json(folder / "rater/criteria.json", CRITERIA)
    return {"tokens": num_tokens, "sequences": pq.read_metadata(folder / "corpus/train/00000.parquet").num_rows}


def ours(folder: Path, precision: str, compiled: bool, options: argparse.Namespace, mark: Callable[[int], None]) -> Any:
    """Run the stage as users do, into a new folder."""
    import pyarrow.parquet as pq

    from qurating.rating.engine import Engine
    from qurating.stages.judging.rate import rate

    inner = Engine.rate

    def marked(self: Any, ids: Any, lengths: Any, done: Any, tokens_to_come: float = 0) -> Any:
        return inner(self, ids, lengths, mark, tokens_to_come)

    Engine.rate = marked  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as output:
        rate(
            output=Path(output),
            corpus=folder / "corpus",
            rater=folder / "rater",
            from_pretrained=None,
            criteria=CRITERIA,
            max_tokens=MAX_TOKENS,
            tokens_per_batch=options.tokens_per_batch,
            precision=precision,
            compilation="always" if compiled else "never",
            num_workers=1,
            shard=None,
            num_shards=None,
            accelerator="gpu" if options.device == "cuda" else "cpu",
        )
        table = pq.read_table(Path(output) / "train/00000.parquet")
    return _columns([table[f"{name}_average"].to_numpy() for name in CRITERIA])


def released(folder: Path, precision: str, _: bool, options: argparse.Namespace, mark: Callable[[int], None]) -> Any:
    """The released loop, rewritten for input ids."""
    import numpy as np
    import torch
    from datasets import Dataset, load_dataset
    from transformers import AutoModelForSequenceClassification

    dtype = torch.float32 if precision == "32-true" else torch.bfloat16
    model = AutoModelForSequenceClassification.from_pretrained(folder / "rater", dtype=dtype).to(options.device).eval()
    eos = json.loads((folder / "corpus/tokenizer/tokenizer.json").read_text())["added_tokens"][0]["id"]

    @torch.inference_mode()
    def of_documents(documents: dict[str, list[Any]]) -> dict[str, list[Any]]:
        windows, owners = [], []
        for owner, ids in enumerate(documents["input_ids"]):
            ids = ids[:-1] if len(ids) > 1 and ids[-1] == eos else ids
            for start in range(0, len(ids), MAX_TOKENS):
                windows.append(ids[start : start + MAX_TOKENS])
                owners.append(owner)
        order = sorted(range(len(windows)), key=lambda i: len(windows[i]))
        scores = np.zeros((len(windows), len(CRITERIA)))
        for start in range(0, len(order), 16):
            batch = order[start : start + 16]
            width = max(len(windows[i]) for i in batch)
            ids = torch.zeros(len(batch), width, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for row, i in enumerate(batch):
                ids[row, : len(windows[i])] = torch.tensor(windows[i])
                mask[row, : len(windows[i])] = 1
            ids, mask = ids.to(options.device), mask.to(options.device)
            states = model.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
            logits = model.score(states)
            lasts = mask.sum(dim=1) - 1
            scores[batch] = logits[torch.arange(len(batch)), lasts].float().cpu().numpy()
            mark(sum(len(windows[i]) for i in batch))
        lengths = np.array([len(window) for window in windows])
        owned = [np.flatnonzero(np.array(owners) == owner) for owner in range(len(documents["input_ids"]))]
        return {"average": [np.average(scores[rows], axis=0, weights=lengths[rows]).tolist() for rows in owned]}

    with tempfile.TemporaryDirectory() as cache:
        data = load_dataset(
            "parquet", data_files=str(folder / "corpus/train/*.parquet"), split="train", cache_dir=cache
        )
        assert isinstance(data, Dataset)
        rated = data.map(of_documents, batched=True, batch_size=512)
        rated.save_to_disk(f"{cache}/rated")
        return np.array(rated["average"])


def _columns(columns: list[Any]) -> Any:
    import numpy as np

    return np.stack(columns, axis=1)


def _cpu_seconds() -> float:
    """User and system time of this process and its children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _flops_a_token(size: str) -> float:
    """Operations of a forward pass of the whole network on full windows: two per weight, and causal attention."""
    s = SIZES[size]
    d, layers = s["hidden_size"], s["num_hidden_layers"]
    weights = layers * (4 * d * d + 3 * d * s["intermediate_size"])
    return 2 * weights + layers * 2 * d * MAX_TOKENS


def _matmul_rate(precision: str) -> float:
    """FLOP/s of a large square matrix multiplication on the GPU."""
    import torch

    n = 8192
    dtype = torch.float32 if precision == "32-true" else torch.bfloat16
    a, b = (torch.randn(n, n, device="cuda", dtype=dtype) for _ in range(2))
    for _ in range(3):
        a @ b
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(20):
        a @ b
    torch.cuda.synchronize()
    return 20 * 2 * n**3 / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
