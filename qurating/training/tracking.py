"""Trackers of metrics, besides the CSV file in each artifact: on request, one Weights & Biases run per cell."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_run: Any = None


@contextlib.contextmanager
def csv_only(**_: Any) -> Iterator[None]:
    """No tracker: metrics are in the artifacts (`metrics.csv`, `metrics.json`)."""
    yield


@contextlib.contextmanager
def wandb(
    *, project: str, group: str, name: str, run_id: str, folder: str, settings: Mapping[str, Any], tags: list[str]
) -> Iterator[None]:
    """One Weights & Biases run, in the mode that WANDB_MODE sets; otherwise offline without a key.

    Args:
        group: the sweep.
        run_id: stable for a cell, so that a resumed cell continues its run.
        folder: of the files of the run.
        settings: the resolved config, without secrets (keys are read from the environment alone).
    """
    import wandb as client

    global _run
    chosen = os.environ.get("WANDB_MODE")
    mode = chosen or ("online" if _has_key() else "offline")
    if mode in {"offline", "dryrun"}:
        reason = f"WANDB_MODE={chosen}" if chosen else "no key found"
        print(f"    wandb: {reason}, the run is kept offline in {folder}/wandb (upload: `wandb sync`)", flush=True)
    Path(folder).mkdir(parents=True, exist_ok=True)
    _run = client.init(
        project=project,
        group=group,
        name=name,
        id=run_id,
        resume="allow",
        dir=folder,
        config=dict(settings),
        tags=tags,
        mode=mode,
        settings=client.Settings(console="off", save_code=False, disable_git=True, x_disable_machine_info=True),
    )
    failed = True
    try:
        yield
        failed = False
    finally:
        # parallel offline runs that are not finished lose their summary
        _run.finish(exit_code=int(failed))
        _run = None


def _has_key() -> bool:
    import wandb as client

    return bool(os.environ.get("WANDB_API_KEY") or client.api.api_key)


def loggers(name: str) -> list[Any]:
    """Lightning loggers of the open run, with metrics under `<name>/`; none without a tracker."""
    if _run is None:
        return []
    from pytorch_lightning.loggers import WandbLogger

    return [WandbLogger(experiment=_run, prefix=name, log_model=False)]


def summarise(values: Mapping[str, Any]) -> None:
    """Put final figures into the summary of the open run, if any."""
    if _run is not None:
        _run.summary.update(dict(values))
