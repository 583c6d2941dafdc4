"""Importance weights of hashed n-grams against a slow reference."""

import hashlib
import itertools
import math
import random
import re
import string

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qurating.rating.importance import Buckets, count_ngrams, log_ratio, log_weights

MASK = 2**64 - 1


def mixed(value: int) -> int:
    """The finaliser of splitmix64, spelt out."""
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def slow_buckets(text: str, num_buckets: int) -> list[int]:
    words = re.findall(r"\w+|[^\w\s]+", text.lower())
    hashes = [int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest()) for word in words]
    pairs = [mixed((a + 1) & MASK) ^ b for a, b in itertools.pairwise(hashes)]
    return sorted(mixed(ngram) % num_buckets for ngram in hashes + pairs)


TEXTS = st.lists(st.text(st.sampled_from("aB é,. \n1"), max_size=30), max_size=8)


@given(TEXTS, st.integers(2, 50))
def test_buckets_are_those_of_words_and_pairs_one_by_one(texts: list[str], num_buckets: int) -> None:
    found, sizes = Buckets(num_buckets).of(texts)
    parts = np.split(found, np.cumsum(sizes)[:-1]) if texts else []
    assert [sorted(part.tolist()) for part in parts] == [slow_buckets(text, num_buckets) for text in texts]


def test_weights_are_the_ratio_of_two_bags() -> None:
    rng = random.Random()
    texts = [" ".join(rng.choices(string.ascii_letters, k=rng.randint(0, 40))) for _ in range(50)]
    target = [*texts[::7], "q q q q"]
    counts = [[0] * 97, [0] * 97]
    for bag, some in zip(counts, (target, texts), strict=True):
        for text in some:
            for bucket in slow_buckets(text, 97):
                bag[bucket] += 1
    p, q = ([(n + 0.5) / (sum(bag) + 97 * 0.5) for n in bag] for bag in counts)
    slow = [sum(math.log(p[b] / q[b]) for b in slow_buckets(text, 97)) for text in texts]
    ratio = log_ratio(count_ngrams(target, 97), count_ngrams(texts, 97), 0.5)
    np.testing.assert_allclose(log_weights(texts, ratio), slow, atol=1e-10)
    means = [s / max(1, len(slow_buckets(text, 97))) for s, text in zip(slow, texts, strict=True)]
    np.testing.assert_allclose(log_weights(texts, ratio, per_ngram=True), means, atol=1e-10)
