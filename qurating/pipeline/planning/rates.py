"""How long work takes and how large its files are: by manifests of this folder of artifacts, else by a dated table."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from qurating.artifacts.identity import leaves
from qurating.corpus.files import ROOT
from qurating.pipeline.planning.counts import UnknownError
from qurating.pipeline.planning.work import Work

TABLE = ROOT / "conf/rates.yaml"
ENOUGH_SECONDS = 60.0  # a stage that took so long tells its rate: the start hardly counts
ENOUGH_SHARE = 0.1  # of the planned work: a manifest of so much tells it, too


class Measured(NamedTuple):
    """One finished stage: `amount` of work and `size` (see `work.Work`), the time of one device (a core, a GPU) and the
    bytes of the files. `device` is "CPU" or the name of a GPU."""

    stage: str
    amount: float | None
    size: float
    seconds: float
    num_bytes: float
    device: str
    precision: str | None
    finished: str
    where: str


class Time(NamedTuple):
    """Seconds of one device, that device, and where the rate comes from."""

    seconds: float
    device: str
    source: str


def table() -> dict[str, Any]:
    """The content of conf/rates.yaml."""
    found: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(TABLE), resolve=True)  # type: ignore[assignment]
    return found


def measured(made: Mapping[str, Any], work: Work, runs_on_gpu: bool) -> Measured | None:
    """What a manifest says about the rate of its stage.

    None if it does not tell: of an earlier version, of a stage that several tasks shared, or that was interrupted.
    """
    machine = made.get("machine") or {}
    if machine.get("attempts") != 1 or machine.get("is_share"):
        return None
    gpu = machine["gpu"] if runs_on_gpu else None
    return Measured(
        stage=made["stage"],
        amount=work.amount,
        size=work.size,
        seconds=(made["seconds"] if gpu else machine["cpu_seconds"]) * machine["processes"],
        num_bytes=sum(file["bytes"] for file in made["files"].values()),
        device=gpu.removeprefix("NVIDIA ").split()[0] if gpu else "CPU",
        precision=precision(made["config"]),
        finished=made["finished"],
        where=machine["gpu"] if gpu else machine["processor"],
    )


def time(
    stage: str, work: Work, on_gpu: bool, wanted: str | None, here: Iterable[Measured], known: Mapping[str, Any]
) -> Time:
    """The time of one device for the work of a stage.

    Args:
        wanted: precision of the stage, if it has one.
        here: what manifests say.
        known: conf/rates.yaml.

    Raises:
        UnknownError: there is neither a manifest nor an entry in the table; says which is missing.
    """
    if work.amount is None:
        raise UnknownError(work.unknown)
    entries = [
        {**entry, "machine": known["machines"][entry["machine"]]} for entry in known["stages"][stage].get("rates", [])
    ]
    fitting = [e for e in entries if (e["machine"]["device"] != "CPU") == on_gpu and _fits(e.get("precision"), wanted)]
    start = min((entry.get("start_seconds", 0.0) for entry in fitting), default=0.0)
    if (best := _nearest(stage, work.amount, on_gpu, wanted, here)) is not None:
        fixed = min(start, best.seconds / 2)  # a faster machine starts faster, too
        seconds = fixed + (best.seconds - fixed) * work.amount / best.amount  # type: ignore[operator]
        return Time(seconds, best.device, f"here, {best.finished[:10]}, {best.where}")
    if not fitting:
        kind = "a GPU" if on_gpu else "a CPU"
        raise UnknownError(f"conf/rates.yaml has no rate of {stage} on {kind}{f' in {wanted}' if entries else ''}")
    entry = max(fitting, key=lambda each: each.get("precision") is not None)
    seconds = entry.get("start_seconds", 0.0) + work.amount / entry["per_second"]
    machine = entry["machine"]
    return Time(seconds, machine["device"], f"table, {entry['as_of']}, {machine['name']}{_like(entry)}")


def num_bytes(stage: str, work: Work, here: Iterable[Measured], known: Mapping[str, Any]) -> float:
    """The bytes of the files of an artifact; raises UnknownError if neither a manifest nor the table tells."""
    sizes = [each for each in here if each.stage == stage and each.size > 0 and each.num_bytes > 1e6]
    if sizes and work.size > 0:
        best = min(sizes, key=lambda each: abs(math.log(each.size / work.size)))
        return best.num_bytes * work.size / best.size
    per_size = known["stages"][stage].get("bytes")
    if per_size is None:
        raise UnknownError(f"conf/rates.yaml has no size of {stage}")
    return float(per_size) * work.size


def precision(settings: Mapping[str, Any]) -> str | None:
    """The precision in the settings of a stage; None if it has none."""
    found = {key: value for key, value in leaves(settings).items() if key in ("precision", "trainer.precision")}
    return found.get("precision") or found.get("trainer.precision")


def _nearest(stage: str, amount: float, on_gpu: bool, wanted: str | None, here: Iterable[Measured]) -> Measured | None:
    """The manifest that tells most about an amount of work: of the nearest amount, the latest of equal ones."""

    def tells(each: Measured) -> bool:
        if each.stage != stage or (each.device != "CPU") != on_gpu or not each.amount or each.seconds <= 0:
            return False
        return each.precision == wanted and (each.seconds >= ENOUGH_SECONDS or each.amount >= ENOUGH_SHARE * amount)

    found: Sequence[Measured] = sorted(filter(tells, here), key=lambda each: each.finished, reverse=True)
    return min(found, key=lambda each: abs(math.log(each.amount / max(amount, 1e-9))), default=None)  # type: ignore[operator]


def _fits(of_entry: str | None, wanted: str | None) -> bool:
    return of_entry is None or of_entry == wanted


def _like(entry: Mapping[str, Any]) -> str:
    """Whose rate it is, where the stage itself has not been measured on the machine."""
    return f" (as {entry['like']})" if "like" in entry else ""


def read_manifests(root: Path) -> dict[str, dict[str, Any]]:
    """All readable manifests under a folder of artifacts, by name; the files are not checked."""
    from qurating.artifacts.files import read_json
    from qurating.runtime.errors import StageError

    found = {}
    for file in sorted(root.glob("*/*/manifest.json")):
        try:
            made = read_json(file)
        except (OSError, StageError):
            continue
        if isinstance(made, dict) and {"stage", "config", "counts", "inputs", "files"} <= made.keys():
            found[f"{file.parts[-3]}/{file.parts[-2]}"] = made
    return found
