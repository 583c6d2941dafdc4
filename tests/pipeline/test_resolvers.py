"""The resolvers in YAML files."""

from qurating.pipeline import resolvers


def test_counts_read_as_people_write_them() -> None:
    names = {30_000_000_000: "30B", 400_000: "400K", 1_500_000: "1.5M", 123_456: "123456", 999: "999", 1000: "1K"}
    assert {number: resolvers._count(number) for number in names} == names
