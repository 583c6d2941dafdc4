"""Topic clusters of a few texts."""

import numpy as np
from rated_example import TOPICS

from qurating.analysis.clusters import NUMBER, cluster, words

TEXTS = [f"{TOPICS[place % 3]} {'again ' * (place % 4)}" for place in range(60)]


def test_texts_of_one_topic_are_together() -> None:
    found = cluster(iter(TEXTS), 3, seed=5)
    assert found is not None
    codes = found.codes.reshape(-1, 3)
    assert (codes == codes[0]).all()
    assert len(set(codes[0].tolist())) == 3
    by_topic = [set(found.terms[code]) for code in codes[0].tolist()]
    assert "river" in by_topic[0]
    assert "parliament" in by_topic[1]
    assert "function" in by_topic[2]
    assert not {"the", "and", "of"} & set().union(*by_topic)  # stop words
    table = found.table().to_pylist()
    assert sum(row["num"] for row in table) == 60
    assert len({row["cluster"] for row in table}) == 3
    assert all(row["top_terms"].startswith(row["cluster"].partition(" (")[0]) for row in table)


def test_other_texts_join_the_cluster_of_their_words() -> None:
    found = cluster(TEXTS, 3, seed=5)
    assert found is not None
    new = ["fish swim in the river under trees", "a minister and his taxes", "nothing known"]
    codes = found.model.codes(new)
    assert codes[:2].tolist() == found.codes[:2].tolist()
    assert 0 <= codes[2] < 3
    np.testing.assert_array_equal(found.model.codes(TEXTS), found.codes)


def test_the_same_seed_makes_the_same_clusters() -> None:
    one, two = (cluster(TEXTS, 4, seed=9) for _ in range(2))
    assert one is not None
    assert two is not None
    assert one.names == two.names
    np.testing.assert_array_equal(one.codes, two.codes)


def test_words_with_a_digit_are_one_word_and_letters_of_china_count() -> None:
    assert words("In 1999, AND x86 or a") == ["in", NUMBER, "and", NUMBER, "or"]
    assert words("汉字") == ["汉", "字"]


def test_texts_without_common_words_have_no_clusters() -> None:
    assert cluster(["alpha", "beta", "gamma"], 2, seed=0) is None
    assert cluster(["", ""], 2, seed=0) is None
    assert cluster([], 2, seed=0) is None


def test_fewer_texts_than_clusters_make_fewer() -> None:
    found = cluster([*TEXTS[:3], *TEXTS[:3]], 25, seed=0)
    assert found is not None
    assert len(found.names) == 3
