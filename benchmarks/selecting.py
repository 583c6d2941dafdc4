"""CPU seconds and memory of selecting, compared with the released scripts.

python benchmarks/selecting.py rows          2M and 10M rows, whole processes
    --released-python PATH ...               interpreters, each with a version of `datasets` (the pinned one: 2.16.1)
python benchmarks/selecting.py ids           the index alone: 2M, 10M, 50M, 200M rows; growth
python benchmarks/selecting.py materialise   tokens of a subset in training order, compared with a copy of as many bytes
python benchmarks/selecting.py jsonl         500,000 scored JSON lines, 510 MB: top-r and folding

Rows are synthetic: ids, lengths, seven domains, scores, tokens. A tenth of the tokens is sampled at τ = 2 by domain.
Every way runs in its own process, from imports to files on disk. CPU seconds are user and system; memory is the peak of
resident memory. The released ways are rewritten: columns as Python lists, one sort per domain, `select` and
`save_to_disk`; JSON lines in memory, sorted, written.
"""

import argparse
import hashlib
import itertools
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
ROWS_A_SHARD = 2_000_000
TEMPERATURE, SHARE = 2.0, 10
DOMAIN_SHARES = [0.3, 0.25, 0.2, 0.1, 0.08, 0.05, 0.02]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rows", "ids", "materialise", "jsonl"))
    parser.add_argument("--num-rows", type=int, nargs="+")
    parser.add_argument("--folder", type=Path, help="where the data are made, and kept; default: a temporary one")
    parser.add_argument("--released-python", nargs="+", default=[sys.executable], help="that run the released way")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        way, place = options.one
        print(json.dumps(globals()[way](Path(place))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        globals()[f"measure_{options.what}"](options, folder)


def measure_rows(options: argparse.Namespace, folder: Path) -> None:
    for count in options.num_rows or [2_000_000, 10_000_000]:
        place = made(folder, count, num_tokens_a_row=20)
        print(f"{count:,} rows of about 140 bytes, index and tokens written:")
        ours = in_a_process("ours_materialised", place, [sys.executable])
        show("ours", ours, None)
        show("ours, the index alone", in_a_process("ours_index", place, [sys.executable]), None)
        for python in options.released_python:
            convert = in_a_process("as_arrow", place, [python])
            show(f"released way, datasets {convert['datasets']}", in_a_process("released", place, [python]), ours)


def measure_ids(options: argparse.Namespace, folder: Path) -> None:
    seconds: list[tuple[int, float]] = []
    for count in options.num_rows or [2_000_000, 10_000_000, 50_000_000, 200_000_000]:
        found = in_a_process("ours_index", made(folder, count, num_tokens_a_row=0), [sys.executable])
        seconds.append((count, found["seconds"]))
        show(f"{count:,} rows", found, None)
        print(f"    {count / found['wall']:,.0f} rows a second of wall time")
    for (n, a), (m, b) in itertools.pairwise(seconds):
        print(f"growth from {n:,} to {m:,}: exponent {math.log(b / a) / math.log(m / n):.2f}")


def measure_materialise(options: argparse.Namespace, folder: Path) -> None:
    """Sequences of realistic length: 2M rows of 512 tokens on average, a tenth of them selected."""
    for count in options.num_rows or [2_000_000]:
        place = made(folder, count, num_tokens_a_row=512)
        (place / "keep").touch()
        in_a_process("ours_index", place, [sys.executable])
        (place / "keep").unlink()
        for way in ("import_alone", "copied", "ours_tokens", "copied", "ours_tokens"):
            show(way.replace("_", " "), in_a_process(way, place, [sys.executable]), None)


def measure_jsonl(options: argparse.Namespace, folder: Path) -> None:
    for count in options.num_rows or [500_000]:
        place = made_lines(folder, count)
        written = place.parent / "lines.jsonl"
        imports = in_a_process("only_imports", place, [sys.executable])
        show("what the released way imports", imports, None)
        for what in ("top_r", "folding"):
            ours = in_a_process(f"ours_{what}", place, [sys.executable])
            own_digest = _sha256(written)
            show(f"ours, {what}", ours, None)
            theirs = in_a_process(f"released_{what}", place, [sys.executable])
            show(f"released way, {what}", theirs, ours)
            without = theirs | {"seconds": theirs["seconds"] - imports["seconds"]}
            show("the same without the imports", without, ours)
            if own_digest != _sha256(written):
                raise SystemExit(f"{what}: the two ways wrote different bytes")


def show(name: str, found: dict[str, Any], ours: dict[str, Any] | None) -> None:
    ratios = ""
    if ours is not None:
        less, memory = found["seconds"] / ours["seconds"], ours["mb"] / found["mb"]
        ratios = f"   ours: {less:.1f} x less CPU, {memory:.2f} of its memory"
    figures = f"{found['seconds']:8.2f} CPU s {found['wall']:8.2f} s {found['mb']:7,.0f} MB"
    print(f"  {name:32} {figures}{ratios}", flush=True)


def in_a_process(way: str, folder: Path, python: list[str]) -> dict[str, Any]:
    """Run a way; CPU seconds, wall seconds and peak memory of its whole process."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [*python, __file__, "rows", "--one", way, str(folder)]
    done = subprocess.run(
        ["/usr/bin/env", "python3", "-c", _PEAK, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    if done.returncode:
        subprocess.run(command, check=True)  # again, to show the error
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    *lines, peak = done.stdout.splitlines()
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found: dict[str, Any] = json.loads(lines[-1])
    return found | {"seconds": used, "wall": time.perf_counter() - started, "mb": int(peak) / 1024}


# The peak memory of one child: RUSAGE_CHILDREN holds the largest of all.
_PEAK = (
    "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
)


def made(folder: Path, num_rows: int, num_tokens_a_row: int) -> Path:
    """A corpus and its ratings, in the format of artifacts."""
    import numpy as np
    import pyarrow as pa

    from qurating.artifacts.files import write_json, write_table

    place = folder / f"{num_rows}x{num_tokens_a_row}"
    if (place / "made").exists():
        return place
    names = pa.array([f"domain {code}" for code in range(len(DOMAIN_SHARES))])
    total = 0
    for number, start in enumerate(range(0, num_rows, ROWS_A_SHARD)):
        rng = np.random.default_rng(number)
        count = min(ROWS_A_SHARD, num_rows - start)
        # an odd number times 0 … 2^64 − 1 is a permutation: no id twice
        ids = (np.arange(start, start + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)).view(np.int64)
        low, high = (num_tokens_a_row // 2, num_tokens_a_row * 3 // 2) if num_tokens_a_row else (128, 1024)
        lengths = rng.integers(low, high + 1, count, dtype=np.int32)
        codes = rng.choice(len(DOMAIN_SHARES), count, p=DOMAIN_SHARES).astype(np.int32)
        domains = pa.DictionaryArray.from_arrays(codes, names).cast(pa.string())
        columns = {"id": ids, "length": lengths, "domain": domains}
        if num_tokens_a_row:
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
            tokens = rng.integers(0, 32_000, offsets[-1], dtype=np.int32)
            columns["input_ids"] = pa.ListArray.from_arrays(offsets, tokens)
        file = f"{number:05}.parquet"
        write_table(place / "corpus/train" / file, pa.table(columns))
        criteria = ("s", "t", "u", "v") if num_tokens_a_row else ("s",)
        scores = {f"{name}_average": rng.normal(size=count) for name in criteria}
        write_table(place / "ratings/train" / file, pa.table({"id": ids, "length": lengths, **scores}))
        total += int(lengths.sum())
    tokenizer = place / "corpus/tokenizer/tokenizer.json"
    tokenizer.parent.mkdir()
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({f"w{i}": i for i in range(32_000)}, unk_token="w0")).save(str(tokenizer))
    write_json(place / "made", {"tokens": total})
    return place


def ours_index(place: Path) -> dict[str, Any]:
    import functools

    from qurating.selection import rules
    from qurating.stages.selection.select import select

    num_tokens = json.loads((place / "made").read_text())["tokens"] // SHARE
    with tempfile.TemporaryDirectory(dir=place) as output:
        counts = select(
            output=Path(output),
            corpus=place / "corpus",
            ratings=place / "ratings",
            rule=functools.partial(rules.select, num_tokens=num_tokens, temperature=TEMPERATURE),
            criterion="s",
            by_domain=True,
            domain_column="domain",
            label="",
            seed=0,
        )
        if (place / "keep").exists():
            os.replace(Path(output) / "subset.parquet", place / "subset.parquet")
    return counts


def ours_materialised(place: Path) -> dict[str, Any]:
    (place / "keep").touch()
    counts = ours_index(place)
    (place / "keep").unlink()
    return counts | ours_tokens(place)


def ours_tokens(place: Path) -> dict[str, Any]:
    """Write the tokens of the existing subset in training order."""
    from qurating.stages.selection.order import order

    with tempfile.TemporaryDirectory(dir=place) as output:
        return order(
            output=Path(output),
            corpus=place / "corpus",
            subset=place,
            ratings=None,
            method="shuffle",
            criterion=None,
            column=None,
            num_folds=1,
            temperature=0,
            descending=False,
            seed=0,
        )


def import_alone(place: Path) -> dict[str, Any]:
    from qurating.stages.selection.order import order

    return {"name": order.__name__}


def copied(place: Path) -> dict[str, Any]:
    """Copy the same tokens from the same shards into one file of the same size, in corpus order."""
    import numpy as np
    import pyarrow.parquet as pq

    index = pq.read_table(place / "subset.parquet", columns=["shard", "row", "length"])
    shard, row = index["shard"].to_numpy(), index["row"].to_numpy()
    num_tokens = 0
    with tempfile.TemporaryDirectory(dir=place) as output, open(Path(output) / "tokens", "wb") as stream:
        for number, file in enumerate(sorted((place / "corpus/train").glob("*.parquet"))):
            rows, before = row[shard == number], 0
            for batch in pq.ParquetFile(file).iter_batches(2**14, columns=["id", "input_ids"], use_threads=False):
                here = slice(*np.searchsorted(rows, (before, before + len(batch))).tolist())
                tokens = batch.column("input_ids").take(rows[here] - before).flatten().to_numpy().astype(np.uint16)
                stream.write(tokens)
                num_tokens += len(tokens)
                before += len(batch)
    return {"tokens": num_tokens}


def made_lines(folder: Path, count: int) -> Path:
    """Scored JSON lines of about 1 KB."""
    import numpy as np

    from qurating.artifacts.files import replacing

    file = folder / f"{count}.jsonl"
    if not file.exists():
        rng = np.random.default_rng(0)
        words = [f"word{number:03}" for number in range(1000)]
        with replacing(file) as temporary, open(temporary, "w", encoding="utf-8") as stream:
            for number in range(count):
                text = " ".join(words[i] for i in rng.integers(0, 1000, int(rng.integers(80, 150))))
                stream.write(json.dumps({"id": number, "text": text, "score": rng.normal()}) + "\n")
    return file


def ours_top_r(file: Path) -> dict[str, Any]:
    return _ours_lines(file, fraction=0.4, method="sorting")


def ours_folding(file: Path) -> dict[str, Any]:
    return _ours_lines(file, fraction=1.0, method="folding")


def _ours_lines(file: Path, fraction: float, method: str) -> dict[str, Any]:
    from qurating.stages.selection.order_lines import order_lines

    return order_lines(
        output=file.parent,
        paths=str(file),
        files="",
        score_field="score",
        fraction=fraction,
        inverse=False,
        method=method,
        num_folds=3,
        descending=False,
        seed=0,
    )


def released_top_r(file: Path) -> dict[str, Any]:
    """All lines as dictionaries in memory, sorted; keep the best."""
    return _released_lines(file, lambda ranked: ranked[len(ranked) - int(0.4 * len(ranked)) :])


def released_folding(file: Path) -> dict[str, Any]:
    return _released_lines(file, lambda ranked: [row for layer in range(3) for row in ranked[layer::3]])


def _released_lines(file: Path, chosen: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> dict[str, Any]:
    versions = only_imports(file)
    with open(file, encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    ranked = chosen(sorted(rows, key=lambda row: row["score"]))
    with open(file.parent / "lines.jsonl", "w", encoding="utf-8") as stream:
        for row in ranked:
            stream.write(json.dumps(row) + "\n")
    return versions


def only_imports(_: Path) -> dict[str, Any]:
    """The imports of the released scripts, although these two do not use them."""
    import datasets
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

    del AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer
    return {"versions": [module.__version__ for module in (datasets, torch)]}


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def as_arrow(place: Path) -> dict[str, Any]:
    """The same rows, corpus and ratings together, as a data set for `load_from_disk`, written shard by shard."""
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in sorted((place / "corpus/train").glob("*.parquet")):
        target = place / "arrow" / datasets.__version__ / file.stem
        if not target.exists():
            table = pq.read_table(file)
            rated = pq.read_table(place / "ratings/train" / file.name)
            for name in ("s", "t", "u", "v"):
                table = table.append_column(f"{name}_average", rated[f"{name}_average"])
            datasets.Dataset(datasets.table.InMemoryTable(pa.table(table))).save_to_disk(str(target))
    return {"datasets": datasets.__version__}


def released(place: Path) -> dict[str, Any]:
    """Select as the released script does."""
    import datasets
    import numpy as np

    datasets.disable_progress_bars() if hasattr(datasets, "disable_progress_bars") else datasets.disable_progress_bar()
    num_tokens = json.loads((place / "made").read_text())["tokens"] // SHARE
    shards = sorted((place / "arrow" / datasets.__version__).iterdir())
    data = datasets.concatenate_datasets([datasets.load_from_disk(str(shard)) for shard in shards])
    scores, lengths, domains = np.array(data["s_average"]), np.array(data["length"]), np.array(data["domain"])
    keys = (scores - scores.mean()) / scores.std() / TEMPERATURE
    keys = keys - np.log(-np.log(np.random.uniform(size=len(keys))))
    chosen = []
    for domain in np.unique(domains):
        rows = np.flatnonzero(domains == domain)
        budget = int(num_tokens * lengths[rows].sum() / lengths.sum())
        ranked = rows[np.argsort(-keys[rows])]
        chosen.append(ranked[: np.searchsorted(np.cumsum(lengths[ranked]), budget) + 1])
    indices = np.sort(np.concatenate(chosen))
    with tempfile.TemporaryDirectory(dir=place) as output:
        data.select(indices).save_to_disk(output)
    return {"sequences": len(indices), "tokens": int(lengths[indices].sum())}


if __name__ == "__main__":
    main()
