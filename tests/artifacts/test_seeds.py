"""Seeds differ by purpose, and stay the same."""

from qurating.artifacts import seeds as artifacts_seeds


def test_seeds_are_apart_and_stable() -> None:
    assert artifacts_seeds.seed_for(0, "select", "noise") == 1612640821089508567  # a change would change every result
    seeds = {
        artifacts_seeds.seed_for(seed, *purpose) for seed in (0, 1) for purpose in (("a",), ("b",), ("a", "b"), ("ab",))
    }
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)
