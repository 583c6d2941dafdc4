"""Weights & Biases: one run per cell, online with a key, otherwise offline."""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qurating.runtime import internals
from qurating.runtime.errors import StageError
from qurating.training.tracking import Histogram, Source, Table, Tracker, Value, opened
from qurating.training.wandb_files import last_places

_MAX_NAME = 128  # characters of an artifact's name
_MAX_TAG = 64  # W&B refuses a run with a longer one


@contextlib.contextmanager
def wandb(
    *,
    project: str,
    group: str,
    name: str,
    run_id: str,
    folder: str,
    settings: Mapping[str, Any],
    tags: list[str],
    finish_timeout_seconds: float,
) -> Iterator[None]:
    """One Weights & Biases run, in the mode that WANDB_MODE sets; otherwise online with a key, and offline without.

    Args:
        group: the sweep.
        run_id: stable for a cell, so that a resumed cell continues its run.
        folder: of the files of the run.
        settings: the resolved config, without secrets.
        finish_timeout_seconds: how long to wait for uploads at the end.

    Raises:
        StageError: the server refuses the key, or the run.
    """
    import wandb as client

    Path(folder).mkdir(parents=True, exist_ok=True)
    mode = _mode(folder)
    if mode == "disabled":
        yield
        return
    try:
        run = client.init(
            project=project,
            group=group,
            name=name,
            id=run_id,
            resume="allow",
            dir=folder,
            config=dict(settings),
            tags=[tag if len(tag) <= _MAX_TAG else f"{tag[: _MAX_TAG - 1]}…" for tag in tags],
            mode=mode,
            settings=client.Settings(
                console="off",
                silent=True,
                save_code=False,
                disable_git=True,
                x_disable_machine_info=True,
                finish_timeout=finish_timeout_seconds,
                finish_timeout_raises=True,
            ),
        )
    except client.Error as error:
        raise StageError(f"wandb: {_first_line(error)}. {_WAYS_OUT}") from error
    if mode == "online":
        print(f"    wandb: {run.url}", flush=True)
    place = {"mode": mode} | {key: getattr(run.settings, key) for key in ("base_url", "entity", "project")}
    record = Path(folder) / "wandb" / "logged" / f"{run_id}.json"
    tracker = Tracker(_Client(run, Path(folder)), record, place, {"group": group, "name": name})
    failed = True
    try:
        with opened(tracker):
            yield
        failed = False
    finally:
        # parallel offline runs that are not finished lose their summary
        try:
            run.finish(exit_code=int(failed))
            tracker.close()
        except Exception as error:  # the server does not answer any more
            print(
                f"    wandb: {_first_line(error)}: what was not uploaded is in {Path(run.dir).parent} "
                "(`wandb sync` sends it, or the same command again)",
                flush=True,
            )


_WAYS_OUT = (
    "Set WANDB_API_KEY, or call `wandb login --relogin`; WANDB_MODE=offline keeps the run on this machine, and "
    "logger=csv needs no account"
)


def _mode(folder: str) -> str:
    """The mode of the run; says why it is offline."""
    import wandb as client

    chosen = os.environ.get("WANDB_MODE")
    if chosen in {"offline", "dryrun", "disabled"}:
        mode, reason = chosen, f"WANDB_MODE={chosen}"
    else:
        client.setup(client.Settings(silent=True))
        mode, reason = "offline", "no key found"
        try:
            if client.login(prompt=False, verify=True):
                return chosen or "online"
        except client.errors.AuthenticationError as error:
            if "did not respond in time" not in str(error):  # the client has no other mark for it
                raise StageError(f"wandb: the key is refused: {_first_line(error)}. {_WAYS_OUT}") from error
            reason = "the server does not answer"
    if mode != "disabled":
        print(f"    wandb: {reason}, the run is kept offline in {folder}/wandb (upload: `wandb sync`)", flush=True)
    return mode


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


class _Client:
    """Puts what a tracker shows into a run of the package wandb."""

    label = "wandb"

    def __init__(self, run: Any, folder: Path) -> None:
        self._run = run
        self._folder = folder
        self._defined: set[str] = set()

    def log(self, values: Mapping[str, Value], x: tuple[str, float] | None, row: int) -> None:
        if x is not None:
            for metric in values.keys() - self._defined:
                self._run.define_metric(metric, step_metric=x[0])
                self._defined.add(metric)
        logged = {name: _logged(value) for name, value in values.items()} | ({x[0]: x[1]} if x else {})
        # a resumed run goes on after the rows that the server has; an offline one knows none
        self._run.log(logged, step=max(row, self._run.step), commit=True)

    def summarise(self, values: Mapping[str, float | str]) -> None:
        self._run.summary.update(dict(values))

    def kept(self, axes: Mapping[str, str]) -> Mapping[str, float]:
        if self._run.offline:
            return last_places(self._folder / "wandb", self._run.id, axes)
        summary = self._run.summary  # what the server has
        return {name: float(summary.get(axes.get(name, ""), 0.0)) for name in summary.keys()}  # noqa: SIM118

    def link(self, source: Source, is_input: bool) -> None:
        """Log an artifact by reference: its manifest's path and fingerprint, and no file."""
        import wandb as client

        kind = source.name.split("/")[0]
        metadata = {"name": source.name, "stage": source.stage, "fingerprint": source.fingerprint}
        artifact = client.Artifact(_artifact_name(source.name), kind, metadata=metadata | {"counts": source.counts})
        manifest = (source.folder / "manifest.json").resolve()
        # the name in the artifact makes another version of it where the content differs
        artifact.add_reference(manifest.as_uri(), f"{source.fingerprint[:16]}/manifest.json", checksum=False)
        internals.log_wandb_artifact(self._run, artifact, is_input)


def _logged(value: Value) -> Any:
    import wandb as client

    if isinstance(value, Histogram):
        return client.Histogram(np_histogram=(list(value.counts), list(value.edges)))
    if isinstance(value, Table):
        rows = [list(row) for row in value.rows]
        return client.Table(columns=list(value.columns), data=rows, allow_mixed_types=True)
    return client.Image(str(value)) if isinstance(value, Path) else value


def _artifact_name(name: str) -> str:
    """`<kind>/<name>` in the letters that Weights & Biases allows; what is changed gets a digest, and stays unique."""
    allowed = re.sub(r"[^A-Za-z0-9_.-]", "_", name.replace("/", "-", 1))
    digest = hashlib.blake2b(name.encode(), digest_size=4).hexdigest()
    return (
        allowed
        if allowed == name.replace("/", "-", 1) and len(allowed) <= _MAX_NAME
        else (f"{allowed[: _MAX_NAME - 9]}-{digest}")
    )
