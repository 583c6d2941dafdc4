"""Settings are compared by their whole path, and functions by their name without the module."""

from pathlib import Path
from typing import Any

import pytest

from qurating.artifacts.identity import (
    COMMIT,
    FORMAT,
    UNKNOWN,
    changes,
    differences,
    identifying_settings,
    leaves,
    plain,
    recorded_identity,
    uncompared,
)


@pytest.mark.parametrize("key", ["strategy", "devices", "num_workers", "shard", "prices"])
def test_a_nested_setting_counts_whatever_its_name(key: str) -> None:
    rules = [{"rule": {"_target_": "mylab.rules.greedy", key: value}, "num_workers": 4} for value in (1, 2)]
    one, other = (identifying_settings(rule, ["num_workers"]) for rule in rules)
    assert one != other
    assert differences(one, other) == [f"rule.{key}: 1 before, 2 now"]


def test_runtime_settings_are_left_out_by_their_whole_path() -> None:
    settings = {"trainer": {"devices": 8, "precision": "32-true"}, "rule": {"devices": 2}, "devices": 3}
    found = identifying_settings(
        settings, ["trainer.devices", "trainer.strategy", "absent.at.all", "rule.devices.deeper"]
    )
    assert found == {"trainer": {"precision": "32-true"}, "rule": {"devices": 2}, "devices": 3}
    assert settings["trainer"] == {"devices": 8, "precision": "32-true"}  # what is given is left as it is


def test_a_function_that_moves_is_the_same_function() -> None:
    before = {"_target_": "qurating.stages.select.select", "rule": {"_target_": "qurating.selection.select", "k": 1}}
    now = {
        "_target_": "qurating.stages.selection.select.select",
        "rule": {"_target_": "qurating.selection.rules.select"},
    }
    now["rule"]["k"] = 1  # type: ignore[index]
    assert identifying_settings(before, []) == identifying_settings(now, [])
    # of other packages a module is part of the name
    other = {"rule": {"_target_": "mylab.select"}}, {"rule": {"_target_": "yourlab.select"}}
    assert identifying_settings(other[0], []) != identifying_settings(other[1], [])


def test_identifying_settings_have_types_of_json() -> None:
    settings = {"t": float("inf"), "p": Path("x"), "l": (1, {"q": float("-inf")})}
    assert identifying_settings(settings, []) == plain(settings) == {"t": "inf", "p": "x", "l": [1, {"q": "-inf"}]}


def test_identifying_settings_of_identifying_settings_are_the_same() -> None:
    settings = {"rule": {"_target_": "qurating.selection.rules.select", "devices": 2}, "shard": 3}
    once = identifying_settings(settings, ["shard"])
    assert identifying_settings(once, ["shard"]) == once


def test_the_identity_of_an_earlier_format_comes_from_all_settings() -> None:
    given = {"_target_": "qurating.stages.select.select", "rule": {"strategy": "greedy"}, "num_workers": 2}
    left_out = {"_target_": "qurating.stages.select.select", "rule": {}}
    old = {"identity": {"stage": "select", "inputs": {"corpus": "x"}, "config": left_out}, "config": given}
    assert recorded_identity(old, ["num_workers"]) == {
        "stage": "select",
        "inputs": {"corpus": "x"},
        "config": {"_target_": "select", "rule": {"strategy": "greedy"}},
    }
    assert recorded_identity({**old, "format": FORMAT}, ["num_workers"]) == old["identity"]


def test_leaves_have_dotted_keys() -> None:
    assert leaves({"a": {"b": 1, "c": {"d": [2]}}, "e": {}}) == {"a.b": 1, "a.c.d": [2], "e": {}}


def test_null_and_absent_are_not_the_same() -> None:
    sent, removed = {"max_tokens": None, "top_p": 1}, {"top_p": 1}
    assert differences({"request_options": sent}, {"request_options": removed}) == [
        "request_options.max_tokens: None before, '(absent)' now"
    ]
    assert changes({"config": {}}, {"config": {}, "sources": {}}) == []


def test_an_argument_of_a_stage_that_is_null_counts_as_absent() -> None:
    old, new = {"config": {"seed": 0}}, {"config": {"seed": 0, "domains": None}}
    assert changes(old, new) == changes(new, old) == []
    assert changes(old, {"config": {"seed": 0, "domains": ["a"]}}) == ["config.domains: '(absent)' before, ['a'] now"]
    assert changes({"config": {"rule": {}}}, {"config": {"rule": {"quota": None}}}) != []


def test_a_new_setting_of_a_group_is_compared_unless_it_is_null() -> None:
    runtime = ["judge.label_pattern?"]
    old, null, given = (
        {"judge": {"name": "x"} | more} for more in ({}, {"label_pattern": None}, {"label_pattern": "(A)"})
    )
    assert identifying_settings(null, runtime) == identifying_settings(old, runtime) == old
    assert identifying_settings(given, runtime) == given


LOCAL, OLD_COMMIT, NEW_COMMIT, UNTOLD = "5 files, 01", f"{COMMIT}aa", f"{COMMIT}bb", f"{UNKNOWN}: no network"


@pytest.mark.parametrize(
    ("before", "now", "is_change", "is_told"),
    [
        (LOCAL, LOCAL, False, False),
        (LOCAL, "5 files, 02", True, False),
        (LOCAL, UNTOLD, True, False),  # the folder is gone
        (LOCAL, OLD_COMMIT, True, False),
        (None, LOCAL, True, False),
        (UNTOLD, LOCAL, True, False),
        (UNKNOWN, NEW_COMMIT, False, True),
        (OLD_COMMIT, OLD_COMMIT, False, False),
        (OLD_COMMIT, NEW_COMMIT, True, False),
        (OLD_COMMIT, LOCAL, True, False),
        (OLD_COMMIT, UNTOLD, False, True),
        (None, OLD_COMMIT, False, True),  # by an earlier version
        (None, UNTOLD, False, True),
        (UNTOLD, OLD_COMMIT, False, True),
        (UNTOLD, UNTOLD, False, True),
        (LOCAL, None, True, False),
    ],
)
def test_sources_that_cannot_be_compared_are_told(
    before: str | None, now: str | None, is_change: bool, is_told: bool
) -> None:
    one, other = ({"sources": {"rater.from_pretrained": each}} if each else {} for each in (before, now))
    assert bool(changes(one, other)) == is_change
    assert list(uncompared(one, other)) == (["rater.from_pretrained"] if is_told else [])


def test_a_new_member_of_a_list_of_inputs_is_told_alone() -> None:
    def given(*names: str) -> dict[str, Any]:
        return {"inputs": {"corpus": "c (1)", **{f"subsets.{place}": name for place, name in enumerate(names)}}}

    assert differences(given("a (1)", "b (1)", "c (1)"), given("a (1)", "x (1)", "b (1)", "c (2)")) == [
        "inputs.subsets: 'c (1)' is no longer there",
        "inputs.subsets: 'c (2)' is new",
        "inputs.subsets: 'x (1)' is new",
    ]
    assert len(differences(given("a (1)", "b (1)"), given("b (1)", "a (1)"))) == 2  # the order may count
    assert differences(given("a (1)"), given("a (1)", "a (1)")) == ["inputs.subsets.1: '(absent)' before, 'a (1)' now"]
    assert differences({"config": {"x.0": 1}}, {"config": {"x.0": 2}}) == ["config.x.0: 1 before, 2 now"]
    assert differences(given(), given()) == []
