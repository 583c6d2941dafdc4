"""The split of judged pairs, or of annotated sequences."""

from qurating.metrics.held_out import split


def test_every_pair_is_in_one_part_and_the_seed_decides() -> None:
    held_out, others = split(25, 0.1, 3)
    assert len(held_out) == 2  # 2.5 rounded to even
    assert sorted([*held_out.tolist(), *others.tolist()]) == list(range(25))
    assert split(25, 0.1, 3)[0].tolist() == held_out.tolist()
    assert split(25, 0.1, 4)[0].tolist() != held_out.tolist()


def test_the_split_stays_what_it_was() -> None:
    """Another one would put pairs that existing raters were trained on among the held-out ones."""
    assert [part.tolist() for part in split(6, 0.4, 0)] == [[2, 0], [3, 1, 4, 5]]
