"""What subsets keep of each group, how far they overlap, and what a check of them found."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qurating.analysis.rated import Mask, Rated
from qurating.analysis.tables import from_rows
from qurating.artifacts.files import read_json
from qurating.artifacts.manifest import referenced_name

RETENTION = pa.schema(
    [
        *((name, pa.string()) for name in ("grouping", "group", "subset")),
        *((name, pa.int64()) for name in ("tokens", "kept_tokens")),
        *((name, pa.float64()) for name in ("share_kept", "share_of_subset", "share_of_corpus")),
    ]
)
OVERLAP = pa.schema(
    [
        ("first", pa.string()),
        ("second", pa.string()),
        ("shared_tokens", pa.int64()),
        ("share", pa.float64()),
        ("by_chance", pa.float64()),
    ]
)
DUPLICATES = pa.schema(
    [("subset", pa.string()), ("near_duplicate_share", pa.float64()), ("contaminated_share", pa.float64())]
)


def retention(rated: Rated, subsets: Mapping[str, Mask]) -> pa.Table:
    """Of each domain, topic cluster and label, the share that each subset keeps, by tokens (`RETENTION`).

    Of clusters, `share_of_subset` and `share_of_corpus` are of the sequences that are in a cluster.

    Args:
        subsets: (n,), which of the sequences each has.
    """
    parts = [RETENTION.empty_table()]
    for grouping, groups in rated.groups.items():
        inside = groups.codes >= 0
        codes, lengths = groups.codes[inside], rated.lengths[inside]
        tokens = np.bincount(codes, lengths, len(groups.names)).astype(np.int64)
        there = np.flatnonzero(np.bincount(codes, minlength=len(groups.names)))
        names = pa.array([groups.names[code] for code in there.tolist()], pa.string())
        for name, mask in subsets.items():
            kept_rows = mask[inside]
            kept = np.bincount(codes[kept_rows], lengths[kept_rows], len(groups.names)).astype(np.int64)[there]
            of_group = tokens[there]
            columns = [
                pa.array([grouping] * len(there), pa.string()),
                names,
                pa.array([name] * len(there), pa.string()),
                of_group,
                kept,
                _share(kept, of_group),
                _share(kept, kept.sum()),
                _share(of_group, of_group.sum()),
            ]
            parts.append(pa.table(columns, schema=RETENTION))
    return pa.concat_tables(parts).combine_chunks()


def _share(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64] | np.int64) -> pa.Array:
    """part / whole; null where the whole is nothing."""
    whole = np.broadcast_to(whole, part.shape)
    shares = part / np.maximum(whole, 1)
    return pa.array(shares, pa.float64(), mask=whole == 0)


def overlap(rated: Rated, subsets: Mapping[str, Mask]) -> pa.Table:
    """Tokens that every two subsets share, over those that either has, beside the same by chance (`OVERLAP`).

    By chance: if the sequences of one were drawn at random, a token of the other would be among them with the
    probability T_first / T, so that they would share T_first · T_second / T tokens (the mean of the hypergeometric
    distribution, over the random draws).
    """
    lengths, names = rated.lengths, list(subsets)
    total = int(lengths.sum())
    tokens = {name: int(lengths[mask].sum()) for name, mask in subsets.items()}
    rows = []
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            shared = int(lengths[subsets[first] & subsets[second]].sum())
            both = tokens[first] + tokens[second]
            chance = tokens[first] * tokens[second] / total if total else 0.0
            rows.append(
                (
                    first,
                    second,
                    shared,
                    shared / (both - shared) if both > shared else None,
                    chance / (both - chance) if both > chance else None,
                )
            )
    return from_rows(rows, OVERLAP)


def duplicates(checks: Sequence[Path]) -> pa.Table:
    """Shares of near-duplicates and of contaminated sequences in the tokens of subsets (`DUPLICATES`).

    Args:
        checks: artifacts of `check_subset`; each names the subset that it checked.
    """
    rows = []
    for check in checks:
        found = read_json(check / "report.json")
        checked = referenced_name(read_json(check / "manifest.json")["inputs"]["subset"]).rpartition("/")[2]
        shares = [
            found["flagged"][reason]["tokens"] / found["tokens"] if found["tokens"] else None
            for reason in ("near_duplicates", "contamination")
        ]
        rows.append((checked, *shares))
    return from_rows(rows, DUPLICATES)
