"""CPU seconds and memory of selecting, beside the released scripts' ways.

python benchmarks/selecting.py rows                            2M and 10M rows, whole processes
python benchmarks/selecting.py rows --released-python PATH     ... the released way by a Python that has datasets==2.16.1
python benchmarks/selecting.py ids                             the index alone: 2M, 10M, 50M, 200M rows; growth
python benchmarks/selecting.py materialise                     a subset's tokens in training order, beside a copy of them
python benchmarks/selecting.py jsonl                           500,000 scored JSON lines, 510 MB: top-r and folding

Rows are synthetic: ids, lengths, seven domains, scores, tokens. A tenth of the tokens is sampled at τ = 2 by domain.
Every way runs in a process of its own, whole, from import to files on disk. CPU seconds are user and system; memory is
the peak of resident memory. The released ways are written anew: columns as Python lists, a sort a domain, `select` and
`save_to_disk`; JSON lines in memory, sorted, written.
"""

import argparse
import itertools
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
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
        way, folder = options.one
        print(json.dumps(globals()[way](Path(folder))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        globals()[f"measure_{options.what}"](options, options.folder or Path(temporary))


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


def show(name: str, found: dict[str, Any], ours: dict[str, Any] | None) -> None:
    ratios = ""
    if ours is not None:
        less, memory = found["seconds"] / ours["seconds"], ours["mb"] / found["mb"]
        ratios = f"   ours: {less:.1f} x less CPU, {memory:.2f} of its memory"
    figures = f"{found['seconds']:8.2f} CPU s {found['wall']:8.2f} s {found['mb']:7,.0f} MB"
    print(f"  {name:32} {figures}{ratios}", flush=True)


def in_a_process(way: str, folder: Path, python: list[str]) -> dict[str, Any]:
    """Run a way; its CPU seconds, wall seconds and peak memory are the whole process'."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [*python, __file__, "rows", "--one", way, str(folder)]
    done = subprocess.run(
        ["/usr/bin/env", "python3", "-c", _PEAK, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    if done.returncode:
        subprocess.run(command, check=True)  # again, to see why
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
    """A corpus and its ratings, as artifacts hold them."""
    import numpy as np
    import pyarrow as pa

    from qurating.artifacts import write_json, write_table

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

    from qurating import selection
    from qurating.stages.select import select

    num_tokens = json.loads((place / "made").read_text())["tokens"] // SHARE
    with tempfile.TemporaryDirectory(dir=place) as output:
        counts = select(
            output=Path(output),
            corpus=place / "corpus",
            ratings=place / "ratings",
            rule=functools.partial(selection.select, num_tokens=num_tokens, temperature=TEMPERATURE),
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
    """The tokens of the subset that lies there, in training order."""
    from qurating.stages.order import order

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


def as_arrow(place: Path) -> dict[str, Any]:
    """The same rows, corpus and ratings in one, as a data set that `load_from_disk` opens: shard by shard."""
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
    """The released script's way."""
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
