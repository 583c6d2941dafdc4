"""Seeds differ by purpose, and stay the same."""

from qurating.artifacts import seeds as artifacts_seeds


def test_seeds_are_apart_and_stable() -> None:
    assert artifacts_seeds.seed_for(0, "select", "noise") == 1612640821089508567  # a change would change every result
    seeds = {
        artifacts_seeds.seed_for(seed, *purpose) for seed in (0, 1) for purpose in (("a",), ("b",), ("a", "b"), ("ab",))
    }
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_replicates_have_seeds_of_their_own() -> None:
    seeds = {(seed, r): artifacts_seeds.replicated(seed, r) for seed in range(3) for r in range(4)}
    assert [seeds[seed, 0] for seed in range(3)] == [0, 1, 2]  # replicate 0 is the run as it was
    assert len(set(seeds.values())) == 12
    assert {key: artifacts_seeds.replicate_of(key[0], seed) for key, seed in seeds.items()} == {k: k[1] for k in seeds}
    assert artifacts_seeds.replicate_of(0, 4) is None
