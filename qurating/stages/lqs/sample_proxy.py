"""Draw the proxy set: the sequences of the corpus to annotate, from which the scorer learns."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qurating.artifacts.files import row_files, write_table
from qurating.artifacts.seeds import seed_for
from qurating.corpus.hashing import as_ids
from qurating.runtime.errors import StageError
from qurating.selection.index import PLACE_SCHEMA
from qurating.selection.noise import gumbel


def sample_proxy(*, output: Path, corpus: Path, num_sequences: int, seed: int) -> dict[str, Any]:
    """Write `proxy.parquet` (columns: PLACE_SCHEMA): sequences drawn uniformly, without replacement, first drawn first.

    Sequences are drawn in the order of their noise, a function of (seed, id) alone: shards and the order of rows change
    nothing, and a smaller proxy set is the beginning of a larger one. A sequence of one token has nothing to predict
    and is not drawn.

    Args:
        corpus: sequences of its training shards are drawn; reads only `id`, `length` and `domain`, shard by shard.
        num_sequences: how many (DELT: 163,840).

    Raises:
        StageError: the number is not a whole number above 0, or the corpus has fewer sequences.
    """
    if num_sequences < 1 or num_sequences != int(num_sequences):
        raise StageError(f"annotation.num_proxy_sequences={num_sequences}: it must be a whole number of at least 1")
    own_seed = seed_for(seed, "sample_proxy", "noise")
    drawn, noise = PLACE_SCHEMA.empty_table(), np.empty(0)
    num_in_corpus = num_eligible = 0
    for number, file in enumerate(row_files(corpus / "train")):
        shard = pq.read_table(file, columns=["id", "length", "domain"])
        shard_noise = gumbel(as_ids(shard["id"].to_numpy()), own_seed)
        is_eligible = shard["length"].to_numpy() >= 2
        num_in_corpus, num_eligible = num_in_corpus + len(shard), num_eligible + int(is_eligible.sum())
        # a sequence that is not among the first so far is not among the first of all
        least = noise[-1] if len(noise) == num_sequences else -np.inf
        rows = np.flatnonzero(is_eligible & (shard_noise >= least))
        shard_noise, found = shard_noise[rows], shard.take(pa.array(rows))
        found = found.append_column("shard", pa.array(np.full(len(rows), number), pa.int32()))
        found = found.append_column("row", pa.array(rows, pa.int32()))
        drawn, noise = pa.concat_tables([drawn, found.select(PLACE_SCHEMA.names)]), np.concatenate([noise, shard_noise])
        first = np.lexsort((as_ids(drawn["id"].to_numpy()), -noise))[: int(num_sequences)]
        drawn, noise = drawn.take(pa.array(first)), noise[first]
    num_short = num_in_corpus - num_eligible
    if num_sequences > num_eligible:
        short = f" (and {num_short:,} of one token, which have nothing to predict)" if num_short else ""
        raise StageError(
            f"annotation.num_proxy_sequences={num_sequences}: {corpus.name} has {num_eligible:,} sequences{short}: "
            f"lower it to {num_eligible} or less, or use a larger corpus"
        )
    write_table(output / "proxy.parquet", drawn)
    by_domain = drawn["domain"].value_counts().to_pylist()
    return {
        "sequences": len(drawn),
        "tokens": pc.sum(drawn["length"]).as_py(),
        "sequences_by_domain": {row["values"]: row["counts"] for row in sorted(by_domain, key=lambda r: r["values"])},
        "corpus_sequences": num_in_corpus,
        "without_target": num_short,
    }
