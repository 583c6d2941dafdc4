"""The resolvers in YAML files."""

from typing import Any

import pytest
from omegaconf import OmegaConf

from qurating.pipeline import resolvers


def test_counts_read_as_people_write_them() -> None:
    names = {30_000_000_000: "30B", 400_000: "400K", 1_500_000: "1.5M", 123_456: "123456", 999: "999", 1000: "1K"}
    assert {number: resolvers._count(number) for number in names} == names


@pytest.mark.parametrize(
    ("given", "distinct", "base"),
    [
        ("b", "b", "b"),
        (None, None, "None"),
        (["b", None, "a", "b"], ["a", "b"], "a+b"),
        (["b"], "b", "b"),
        ([], None, "None"),
    ],
)
def test_artifacts_that_are_named_twice_count_once(given: Any, distinct: Any, base: str) -> None:
    resolvers.register_resolvers()
    config = OmegaConf.create(
        {"given": given, "found": "${distinct:${given},${given},null}", "base": "${base:${found}}"}
    )
    assert OmegaConf.to_container(config, resolve=True) == {"given": given, "found": distinct, "base": base}
    assert resolvers._base(["targets/b", "targets/a/"]) == "a+b"


def test_a_budget_times_a_factor_is_a_whole_number() -> None:
    resolvers.register_resolvers()
    config = OmegaConf.create({"larger": "${times:1.5,${num_tokens}}", "num_tokens": 30_000_000_001})
    assert config.larger == 45_000_000_002
    assert isinstance(config.larger, int)
