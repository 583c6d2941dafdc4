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


def test_files_of_a_setting_that_is_made_of_others() -> None:
    """Names of artifacts may depend on whether there are files: what is made of them is not asked."""
    resolvers.register_resolvers()
    config = OmegaConf.create({"ratings": "${artifacts.rate}", "place": "x", "artifacts": {}})
    config.artifacts.rate = "${unless:${files_of:ratings},ratings/rater}"
    assert config.ratings == "ratings/rater"
    for given, files in (("/x.parquet", "/x.parquet"), ("/${place}.parquet", "/x.parquet"), ("ratings/mine", None)):
        config.ratings = given
        assert OmegaConf.select(config, "artifacts.rate") == (None if files else "ratings/rater")
        assert OmegaConf.create({"at": "${files_of:ratings}", "ratings": given, "place": "x"}).at == files
    named = {"mine": "ratings/mine", "none": None, "made": "${artifacts.rate}", "artifacts": {"rate": "ratings/rater"}}
    for name, value in (("mine", "ratings/mine"), ("none", None), ("made", None), ("absent", None)):
        assert OmegaConf.create({"at": f"${{given:{name}}}", **named}).at == value
    assert OmegaConf.create({"at": "${files_of:ratings}", "ratings": None}).at is None
    assert OmegaConf.create({"at": "${files_of:ratings}"}).at is None


def test_a_budget_times_a_factor_is_a_whole_number() -> None:
    resolvers.register_resolvers()
    config = OmegaConf.create({"larger": "${times:1.5,${num_tokens}}", "num_tokens": 30_000_000_001})
    assert config.larger == 45_000_000_002
    assert isinstance(config.larger, int)
