"""Tokens per second, with a clock that the test moves."""

import resource
from pathlib import Path

import pytest
import pytorch_lightning as pl
from pytorch_lightning.loggers.logger import DummyLogger
from training_example import a_model, an_order, train

from qurating.datamodules.tokens import TokenBlocks
from qurating.training import throughput, tracking
from qurating.training.throughput import Throughput


class Clock:
    """Moves by so many seconds with each forward pass."""

    seconds = 0.0

    def perf_counter(self) -> float:
        return self.seconds


class Slow(pl.Callback):
    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock, self.pace = clock, seconds

    def on_train_batch_start(self, *_: object) -> None:
        self.clock.seconds += self.pace


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(throughput, "time", made)
    return made


def measured(order: Path) -> Throughput:
    return Throughput(
        TokenBlocks(order, sequence_length=8, batch_size_sequences=4, micro_batch_size=2, vocabulary_size=64)
    )


def test_the_rate_is_tokens_over_seconds(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    order = an_order(tmp_path / "order")
    watched = measured(order)
    train(order, tmp_path / "lm", callbacks=[watched, Slow(clock, 2.0)])
    monkeypatch.setattr(throughput, "matmul_rate", lambda device, dtype: 1e6)
    counts = watched.counts()
    assert counts["tokens_per_second"] == pytest.approx(93 / 12, abs=0.05)  # six passes
    flops = throughput.flops_per_token(a_model().network, 8)
    assert counts["mfu"] == pytest.approx(93 / 12 * flops / 1e6, rel=1e-2)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert counts["peak_memory_gb"] == pytest.approx(held / 1e9, rel=0.05)


def test_a_resumed_training_counts_from_where_it_resumed(tmp_path: Path, clock: Clock) -> None:
    order = an_order(tmp_path / "order")
    with pytest.raises(RuntimeError, match="pulled the plug"):
        train(order, tmp_path / "lm", fail_at=5, callbacks=[measured(order), Slow(clock, 100.0)])
    watched = measured(order)
    train(order, tmp_path / "lm", callbacks=[watched, Slow(clock, 1.0)])
    assert watched.counts()["tokens_per_second"] == pytest.approx((93 - 64) / 2, abs=0.05)
    done = measured(order)  # nothing is left to do
    train(order, tmp_path / "lm", callbacks=[done])
    assert done.counts().keys() == {"peak_memory_gb"}


def test_trackers_get_the_rate_now_and_then(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[tuple[int, float]] = []

    class Tracker(DummyLogger):
        def log_metrics(self, metrics: dict[str, float], step: int) -> None:
            logged.extend(
                (step, metrics[name]) for name in metrics if name.startswith(("train/tokens_per", "train/mfu"))
            )

    monkeypatch.setattr(tracking, "loggers", lambda: [Tracker()])
    order = an_order(tmp_path / "order")
    train(order, tmp_path / "lm", callbacks=[measured(order), Slow(clock, 4.0)])
    # two passes of 4 s a step: 10 s are over with the second step, and not again with the third
    rate, (step, mfu) = logged
    assert (rate, step) == ((1, 64 / 16), 1)
    assert mfu > 0
    assert "train/tokens_per_second" not in (tmp_path / "lm/metrics.csv").read_text(encoding="utf-8")
