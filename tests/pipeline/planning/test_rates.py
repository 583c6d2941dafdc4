"""Rates: manifests of this folder of artifacts before the table, and only those that tell."""

from typing import Any

import pytest

from qurating.artifacts.lineage import STAGES
from qurating.pipeline.planning.counts import UnknownError
from qurating.pipeline.planning.rates import Measured, measured, num_bytes, precision, table, time
from qurating.pipeline.planning.work import Work

KNOWN: dict[str, Any] = {
    "machines": {"core": {"device": "CPU", "name": "a core"}, "gpu": {"device": "G1", "name": "a G1"}},
    "stages": {
        "train_lm": {
            "bytes": 4,
            "rates": [
                {"machine": "core", "per_second": 100.0, "start_seconds": 10, "as_of": "2026-11", "source": "a page"},
                {
                    "machine": "gpu",
                    "per_second": 1e6,
                    "precision": "bf16-mixed",
                    "as_of": "2026-11",
                    "source": "a page",
                },
            ],
        }
    },
}


def work(amount: float | None = 10_000.0, **more: Any) -> Work:
    return Work(amount, "some work", 50.0, **more)


def here(amount: float, seconds: float, device: str = "CPU", finished: str = "2026-01-02T00:00:00") -> Measured:
    return Measured("train_lm", amount, 50.0, seconds, 2e6, device, "32-true", finished, "my machine")


def seconds(*manifests: Measured, amount: float = 10_000.0) -> float:
    return time("train_lm", work(amount), False, "32-true", manifests, KNOWN).seconds


def test_the_table_is_used_without_manifests_and_says_so() -> None:
    found = time("train_lm", work(), False, "32-true", [], KNOWN)
    assert (found.seconds, found.device, found.source) == (110.0, "CPU", "table, 2026-11, a core")


def test_a_manifest_comes_before_the_table() -> None:
    found = time("train_lm", work(), False, "32-true", [here(10_000, 500)], KNOWN)
    assert (found.seconds, found.source) == (500.0, "here, 2026-01-02, my machine")


def test_time_grows_with_work_but_for_the_start() -> None:
    assert seconds(here(10_000, 500), amount=20_000) == 10 + 2 * 490
    assert seconds(here(10_000, 500), amount=1_000) == 10 + 49


def test_a_short_run_tells_nothing_about_a_long_one() -> None:
    """Its seconds are the start of the stage: multiplied, they would be hours."""
    assert seconds(here(100, 9.0)) == 110.0
    assert seconds(here(1_000, 9.0)) == 4.5 + 10 * 4.5  # a tenth of the work, on a faster machine
    assert seconds(here(100, 61.0)) == 10 + 51 * 100  # a minute


def test_the_nearest_amount_tells_most_and_of_equal_ones_the_latest() -> None:
    assert seconds(here(10_000, 500), here(1_000_000, 10_000)) == 500.0
    assert seconds(here(10_000, 500), here(10_000, 700, finished="2026-02-01T00:00:00")) == 700.0


def test_a_cpu_tells_nothing_about_a_gpu_and_one_precision_nothing_about_another() -> None:
    found = time("train_lm", work(), True, "bf16-mixed", [here(10_000, 500)], KNOWN)
    assert found.device == "G1"
    with pytest.raises(UnknownError, match="no rate of train_lm on a GPU in 32-true"):
        time("train_lm", work(), True, "32-true", [here(10_000, 500)], KNOWN)
    assert time("train_lm", work(), True, "32-true", [here(10_000, 5, "G2")], KNOWN).device == "G2"


def test_what_has_no_amount_is_unknown_with_its_reason() -> None:
    with pytest.raises(UnknownError, match="waits for people"):
        time("train_lm", work(None, unknown="it waits for people"), False, "32-true", [], KNOWN)


def test_bytes_are_those_of_manifests_then_of_the_table() -> None:
    assert num_bytes("train_lm", work(), [], KNOWN) == 200
    assert num_bytes("train_lm", work(), [here(1, 1)], KNOWN) == 2e6


def test_a_manifest_tells_only_if_one_attempt_of_one_task_made_it() -> None:
    machine = {"cpu_seconds": 30.0, "attempts": 1, "processes": 2, "is_share": False, "gpu": None, "processor": "P"}
    made = {"stage": "rate", "seconds": 20.0, "config": {}, "files": {}, "finished": "2026", "machine": machine}
    found = measured(made, work(), runs_on_gpu=True)
    assert found is not None
    assert (found.seconds, found.device, found.where) == (60.0, "CPU", "P")
    gpu = measured({**made, "machine": {**machine, "gpu": "NVIDIA H200"}}, work(), runs_on_gpu=True)
    assert gpu is not None
    assert (gpu.seconds, gpu.device) == (40.0, "H200")
    beside = measured({**made, "machine": {**machine, "gpu": "NVIDIA H200"}}, work(), runs_on_gpu=False)
    assert beside is not None
    assert beside.device == "CPU"
    for change in ({"attempts": 2}, {"is_share": True}):
        assert measured({**made, "machine": {**machine, **change}}, work(), True) is None
    assert measured({**made, "machine": None}, work(), True) is None  # of an earlier version


def test_precision_of_a_stage() -> None:
    assert precision({"precision": "32-true", "trainer": {"precision": "bf16-mixed"}}) == "32-true"
    assert precision({"trainer": {"precision": "bf16-mixed"}}) == "bf16-mixed"
    assert precision({"rule": {"precision": "x"}}) is None


def test_every_entry_of_the_table_has_a_date_a_source_and_a_machine() -> None:
    known = table()
    assert set(known["stages"]) == set(STAGES)
    for stage, entry in known["stages"].items():
        assert entry["bytes"] > 0, stage
        for rate in entry.get("rates", []):
            assert rate["machine"] in known["machines"], stage
            assert rate["per_second"] > 0, stage
            assert str(rate["as_of"]).startswith("20"), stage
            assert rate["source"], stage
