"""Topic clusters of sequences: TF-IDF, singular vectors, k-means (QuRating §6), named by their top terms."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from qurating.analysis.rated import Codes
from qurating.analysis.tables import CLUSTERS
from qurating.corpus.words import words_of

NUMBER = "[number]"  # the token of all numbers
NUM_TERMS, NUM_TERMS_OF_NAME = 10, 3
DIMENSIONS = 128
MINI_BATCH_FROM = 1_000_000  # sequences
_MAX_CHARACTERS = 20_000  # of a text
_MAX_VOCABULARY = 50_000
_MOST_COMMON = 0.5  # a word in more of the texts says nothing about a topic

_DIGIT = re.compile(r"\d")


class Topics(NamedTuple):
    """Clusters, the largest first: `codes` (n,) of the texts that they were made from, their `names` and top terms."""

    codes: Codes
    names: list[str]
    terms: list[list[str]]
    model: "Model"

    def table(self) -> pa.Table:
        """`CLUSTERS`: the number of texts and the top terms of each."""
        sizes = np.bincount(self.codes, minlength=len(self.names))
        terms = [", ".join(each) for each in self.terms]
        return pa.table([pa.array(self.names, pa.string()), pa.array(terms, pa.string()), sizes], schema=CLUSTERS)


class Model(NamedTuple):
    """What clusters of other texts are found with; `order`: the code of each of its centres."""

    vectorizer: TfidfVectorizer
    projection: TruncatedSVD | None
    centres: KMeans
    order: Codes

    def codes(self, texts: Iterable[str]) -> Codes:
        """The clusters (n,) of texts."""
        vectors = _projected(self.projection, self.vectorizer.transform(texts))
        found: Codes = self.order[self.centres.predict(vectors)]
        return found


def words(text: str) -> list[str]:
    """The words of a text in lower case; every word with a digit is `NUMBER`."""
    found = words_of(text[:_MAX_CHARACTERS].lower())
    return [NUMBER if _DIGIT.search(word) else word for word in found if len(word) > 1 or not word.isascii()]


def cluster(texts: Iterable[str], num_clusters: int, seed: int) -> Topics | None:
    """Cluster texts by topic; None if they have too few words in common.

    Words in more than half of the texts, English stop words and words in a single text do not count. The result does
    not depend on the number of threads.

    Args:
        num_clusters: at most; fewer for fewer texts.
        seed: of the singular vectors and of k-means.
    """
    vectorizer = TfidfVectorizer(
        analyzer=_analysed,
        min_df=2,
        max_df=_MOST_COMMON,
        max_features=_MAX_VOCABULARY,
        dtype=np.float32,
        sublinear_tf=True,
    )
    try:
        weights = vectorizer.fit_transform(texts)
    except ValueError:  # no word is left
        return None
    dimensions = min(DIMENSIONS, weights.shape[0] - 1, weights.shape[1] - 1)
    state = seed % 2**32
    with threadpool_limits(1):
        projection = TruncatedSVD(dimensions, n_iter=3, random_state=state).fit(weights) if dimensions > 1 else None
        vectors = _projected(projection, weights)
        number = min(num_clusters, len(np.unique(vectors, axis=0)))
        if vectors.shape[0] > MINI_BATCH_FROM:
            centres = MiniBatchKMeans(number, n_init=3, batch_size=4096, random_state=state).fit(vectors)
        else:
            centres = KMeans(number, n_init=3, random_state=state).fit(vectors)
    sizes = np.bincount(centres.labels_, minlength=number)
    by_size = np.argsort(-sizes, kind="stable")
    order = np.empty(number, np.int32)
    order[by_size] = np.arange(number, dtype=np.int32)
    codes = order[centres.labels_]
    terms = _top_terms(weights, codes, number, vectorizer.get_feature_names_out())
    return Topics(codes, _names(terms), terms, Model(vectorizer, projection, centres, order))


def _analysed(text: str) -> list[str]:
    return [word for word in words(text) if word not in ENGLISH_STOP_WORDS]


def _projected(projection: TruncatedSVD | None, weights: Any) -> npt.NDArray[np.float32]:
    """Vectors of unit length; of texts without a known word, zeros."""
    vectors = weights.toarray() if projection is None else projection.transform(weights)
    found: npt.NDArray[np.float32] = normalize(vectors).astype(np.float32)
    return found


def _top_terms(weights: Any, codes: Codes, number: int, vocabulary: npt.NDArray[np.object_]) -> list[list[str]]:
    """The words whose mean weight in a cluster exceeds that in all texts most."""
    overall = np.asarray(weights.mean(axis=0)).ravel()
    found = []
    for code in range(number):
        above = np.asarray(weights[np.flatnonzero(codes == code)].mean(axis=0)).ravel() - overall
        best = np.argsort(-above, kind="stable")[:NUM_TERMS]
        found.append([str(vocabulary[place]) for place in best.tolist() if above[place] > 0])
    return found


def _names(terms: Sequence[Sequence[str]]) -> list[str]:
    """The first terms of each; clusters of the same terms are numbered."""
    names: list[str] = []
    for each in terms:
        name = ", ".join(each[:NUM_TERMS_OF_NAME]) or "no common words"
        names.append(name if name not in names else f"{name} ({len(names) + 1})")
    return names
