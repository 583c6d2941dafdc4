"""Seconds and memory of analysing a rated corpus.

python benchmarks/analysing.py tables        1M rated sequences without topic clusters: seven criteria, three subsets
python benchmarks/analysing.py clusters      100,000 texts of about 700 words in 25 topic clusters

Everything is generated: ids, lengths, domains, two windows a sequence, ratings of four artifacts, 20,000 judged pairs;
words by Zipf's law, in part from one of 40 topics. The stage runs in its own process, from imports to files on disk.
Memory is the peak of resident memory.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
ROWS_A_SHARD = 50_000
NUM_DOMAINS = 20
NUM_PAIRS = 20_000
ARTIFACTS = {
    "rater": ("writing_style", "required_expertise", "facts_and_trivia", "educational_value"),
    "scores": ("lqs",),
    "perplexity": ("log_perplexity",),
    "dsir": ("dsir",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("tables", "clusters"))
    parser.add_argument("--num-rows", type=int)
    parser.add_argument("--folder", type=Path, help="where the data are made, and kept; default: a temporary one")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(analysed(options.one, with_clusters=options.what == "clusters")))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        count = options.num_rows or (1_000_000 if options.what == "tables" else 100_000)
        place = made(folder / f"{options.what}-{count}", count, with_text=options.what == "clusters")
        started = time.perf_counter()
        command = [sys.executable, __file__, options.what, "--one", str(place)]
        done = subprocess.run(["/usr/bin/env", "python3", "-c", _USED, *command], stdout=subprocess.PIPE, check=True)
        *_, used = done.stdout.decode().splitlines()
        seconds, peak = map(float, used.split())
        wall = time.perf_counter() - started
        print(f"{count:,} sequences, {options.what}: {wall:.1f} s, {seconds:.1f} CPU s, {peak / 1024:,.0f} MB")


# CPU seconds and the peak memory of one child
_USED = (
    "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); "
    "used = resource.getrusage(resource.RUSAGE_CHILDREN); print(used.ru_utime + used.ru_stime, used.ru_maxrss); "
    "sys.exit(code)"
)


def analysed(place: Path, with_clusters: bool) -> dict[str, Any]:
    from qurating.stages.comparison.analyse_ratings import analyse_ratings

    with tempfile.TemporaryDirectory(dir=place) as output:
        return analyse_ratings(
            output=Path(output),
            corpus=place / "corpus",
            ratings=[place / name for name in ARTIFACTS],
            subsets=sorted(place.glob("subset_*")),
            checks=[],
            judgments=[place / "judgments"],
            raters=[],
            annotations=[],
            scorers=[],
            evaluations=[],
            domain_column="domain",
            label_columns=["lang"],
            max_sequences=2_000_000,
            num_tokens=json.loads((place / "made").read_text())["tokens"] // 10,
            clusters=25 if with_clusters else 0,
            max_clustered=100_000,
            max_explored=2000,
            min_spread=0.1,
            min_distinct=10,
            seed=0,
        )


def made(place: Path, count: int, with_text: bool) -> Path:
    """A corpus, ratings, subsets and judgments, in the format of artifacts."""
    import numpy as np
    import pyarrow as pa

    from qurating.artifacts.files import write_json, write_table

    if (place / "made").exists():
        return place
    draw = np.random.default_rng(0)
    # an odd number times 0 … 2^64 − 1 is a permutation: no id twice
    ids = (np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)).view(np.int64)
    lengths = draw.integers(256, 1025, count, dtype=np.int32)
    codes = draw.integers(0, NUM_DOMAINS, count).astype(np.int32)
    quality = draw.normal(size=count) + codes / NUM_DOMAINS
    domains = np.array([f"domain {code:02}" for code in range(NUM_DOMAINS)])[codes]
    languages = np.array(["en", "de", "fr", "zh"])[draw.choice(4, count, p=[0.7, 0.1, 0.1, 0.1])]
    for number, start in enumerate(range(0, count, ROWS_A_SHARD)):
        rows = slice(start, min(start + ROWS_A_SHARD, count))
        size, file = rows.stop - rows.start, f"train/{number:05}.parquet"
        columns: dict[str, Any] = {"id": ids[rows], "length": lengths[rows]}
        corpus = columns | {
            "document_id": [f"document {row // 3}" for row in range(rows.start, rows.stop)],
            "position": (np.arange(rows.start, rows.stop) % 3).astype(np.int32),
            "domain": domains[rows],
            "lang": languages[rows],
        }
        if with_text:
            corpus["text"] = texts(size, number)
        write_table(place / "corpus" / file, pa.table(corpus))
        half = lengths[rows] // 2
        windows = np.stack([half, lengths[rows] - half], 1).ravel()
        offsets = pa.array(np.arange(0, 2 * size + 1, 2), pa.int32())
        for name, criteria in ARTIFACTS.items():
            rated = columns | {"chunk_lengths": pa.ListArray.from_arrays(offsets, pa.array(windows))}
            for criterion in criteria:
                each = np.repeat(quality[rows], 2) + draw.normal(size=2 * size)
                rated[f"{criterion}_chunks"] = pa.ListArray.from_arrays(offsets, pa.array(each, pa.float32()))
                rated[f"{criterion}_average"] = each.reshape(-1, 2).mean(1)
            write_table(place / name / file, pa.table(rated))
    for number in range(3):
        own = np.flatnonzero(draw.random(count) < 0.1)
        index = {"id": ids[own], "shard": own // ROWS_A_SHARD, "row": own % ROWS_A_SHARD, "length": lengths[own]}
        write_table(place / f"subset_{number}/subset.parquet", pa.table(index))
    pairs = draw.integers(0, count, (NUM_PAIRS, 2))
    p = 1 / (1 + np.exp(quality[pairs[:, 0]] - quality[pairs[:, 1]]))
    matrices = np.stack([np.full(NUM_PAIRS, -100.0), p, 1 - p, np.full(NUM_PAIRS, -100.0)], 1).reshape(-1, 2, 2)
    judged: dict[str, Any] = {"indices": ids[pairs].tolist()}
    judged |= {f"{criterion}_average": matrices.tolist() for criterion in ARTIFACTS["rater"]}
    write_table(place / "judgments/judgments.parquet", pa.table(judged))
    write_json(place / "judgments/summary.json", {"criteria": {}})
    write_json(place / "made", {"tokens": int(lengths.sum())})
    return place


def texts(count: int, seed: int) -> list[str]:
    """Texts of about 700 words by Zipf's law; a third of the words of each are of its topic."""
    import numpy as np

    draw = np.random.default_rng(seed)
    letters = "bcdfghklmnprstvw", "aeiou"
    vocabulary = np.array([_word(number, *letters) for number in range(60_000)])
    found = []
    for _ in range(count):
        size = int(draw.integers(400, 1000))
        ranks = np.minimum(draw.zipf(1.2, size), 40_000) - 1
        own = draw.random(size) < 0.33
        ranks[own] = 40_000 + 500 * draw.integers(0, 40) + draw.integers(0, 500, int(own.sum()))
        found.append(" ".join(vocabulary[ranks]))
    return found


def _word(number: int, consonants: str, vowels: str) -> str:
    word = ""
    for _ in range(3):
        word += consonants[number % len(consonants)] + vowels[number // len(consonants) % len(vowels)]
        number //= len(consonants) * len(vowels)
    return word


if __name__ == "__main__":
    main()
