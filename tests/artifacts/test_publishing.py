"""Artifacts are complete or absent, built once, and refused if their settings differ."""

import errno
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from artifact_example import IDENTITY, build, made, publish, wanted

from qurating.artifacts import manifest as manifests
from qurating.artifacts import publishing
from qurating.artifacts.artifact import Artifact
from qurating.artifacts.files import replacing
from qurating.artifacts.manifest import manifest
from qurating.artifacts.publishing import wait_until_published, wait_until_started
from qurating.runtime.errors import StageError


def test_shares_fill_one_folder_and_the_last_publishes(tmp_path: Path) -> None:
    path, inside = tmp_path / "ratings" / "shared", threading.Barrier(3, timeout=600)

    def share(number: int, waits: bool = True) -> Any:
        def build(folder: Path) -> dict[str, Any] | None:
            if not (folder / f"{number}.txt").exists():
                if waits:
                    inside.wait()  # all three are at work at once
                with replacing(folder / f"{number}.txt") as torn:  # as stages do: another share may publish at once
                    torn.write_text(str(number))
            return {"rows": 3} if len(list(folder.glob("*.txt"))) == 3 else None

        return publish(wanted(path), build, share=f"{number}_of_3")

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(share, range(3)))
    assert sum(made is not None for made in found) == 1
    assert manifest(path)["files"].keys() == {"0.txt", "1.txt", "2.txt"}
    assert share(1, waits=False) is None
    assert {file.name for file in path.parent.iterdir()} == {"shared", ".shared.lock", ".shared.checked.json"}


def test_a_share_that_fails_leaves_the_others_alone(tmp_path: Path) -> None:
    path = tmp_path / "ratings" / "shared"

    def good(folder: Path) -> dict[str, Any] | None:
        (folder / "good.txt").write_text("1")
        return {"rows": 2} if (folder / "bad.txt").exists() else None

    def bad(folder: Path) -> dict[str, Any] | None:
        raise ValueError("a broken share")

    def mended(folder: Path) -> dict[str, Any] | None:
        (folder / "bad.txt").write_text("1")
        return good(folder)

    def shared(build: Any, share: str) -> Any:
        return publish(wanted(path), build, share)

    assert shared(good, "0_of_2") is None
    with pytest.raises(ValueError, match="a broken share"):
        shared(bad, "1_of_2")
    assert not path.exists()
    made = shared(mended, "1_of_2")
    assert made is not None
    assert made["files"].keys() == {"good.txt", "bad.txt"}


def test_what_is_complete_is_not_built_again(tmp_path: Path) -> None:
    path = tmp_path / "k" / "x"
    made(path)
    assert wanted(path).is_complete()
    assert made(path, build=None) is None


def test_another_config_under_the_same_name_is_refused_with_both_ways_out(tmp_path: Path) -> None:
    path = tmp_path / "k" / "x"
    made(path)
    other = {**IDENTITY, "config": {"max_tokens": 256, "seed": 1}}
    with pytest.raises(
        StageError, match=r"config.max_tokens: 512 before, 256 now(.|\n)*artifacts.rate=(.|\n)*overwrite"
    ):
        made(path, other)
    made(path, other, overwrite=True)
    assert manifest(path)["config"]["max_tokens"] == 256
    # the other one is refused now, and what is the same is kept although overwrite is set
    assert made(path, other, overwrite=True, build=None) is None
    assert [file.name for file in path.parent.iterdir() if file.name[0] != "."] == ["x"]


def test_a_failed_build_is_not_published_and_its_work_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "k" / "x"

    def half(folder: Path) -> dict[str, Any]:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(path, build=half)
    assert not path.exists()

    def rest(folder: Path) -> dict[str, Any]:
        assert (folder / "half").read_text() == "half"
        return {}

    other = {**IDENTITY, "config": {"max_tokens": 256}}
    with pytest.raises(StageError, match="was started with other settings or inputs"):
        made(path, other, build=rest)
    made(path, build=rest)
    assert manifest(path)["files"].keys() == {"half"}


def test_overwrite_discards_work_started_with_other_settings(tmp_path: Path) -> None:
    path = tmp_path / "k" / "x"

    def half(folder: Path) -> dict[str, Any]:
        (folder / "half").write_text("half")
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011
        made(path, build=half)
    made(path, {**IDENTITY, "config": {}}, overwrite=True)
    assert manifest(path)["files"].keys() == {"part/a.txt"}


def test_a_failure_that_left_nothing_does_not_stand_in_the_way(tmp_path: Path) -> None:
    def fails(folder: Path) -> dict[str, Any]:
        (folder / "journal.jsonl").touch()
        raise StageError("no such endpoint")

    with pytest.raises(StageError, match="no such endpoint"):
        made(tmp_path / "k" / "x", build=fails)
    assert made(tmp_path / "k" / "x", {**IDENTITY, "config": {"mended": True}})


@pytest.mark.parametrize("links", [True, False])
def test_what_replaces_an_artifact_keeps_shards_that_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    path, names, written = tmp_path / "k" / "x", ["part/a", "part/b", "part/c"], list[str]()
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))

    def build(folder: Path) -> dict[str, Any]:
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            if not (folder / name).exists():
                written.append(name)
                (folder / name).write_text(name)
        return {"rows": 3}

    def again(identity: Any) -> list[str]:
        written.clear()
        publish(wanted(path, identity, overwrite=True), build, keep=names)
        assert sorted(manifest(path)["files"]) == names
        return list(written)

    assert again(IDENTITY) == names
    before = manifest(path)["fingerprint"]
    (path / "part/a").unlink()
    (path / "part/b").write_text("part/B")  # as long as it was
    assert again(IDENTITY) == ["part/a", "part/b"]
    assert manifest(path)["fingerprint"] == before
    names.remove("part/c")  # of another input
    other = {**IDENTITY, "inputs": {"corpus": "corpora/other"}}
    assert again(other) == []
    assert again({**other, "config": {"max_tokens": 7}}) == names


def _slow_build(path: Path, log: Path) -> None:
    def slowly(folder: Path) -> dict[str, Any]:
        with open(log, "a", encoding="utf-8") as stream:
            stream.write(f"{os.getpid()}\n")
        time.sleep(1)
        return build(folder)

    made(path, build=slowly)


def test_of_two_tasks_one_builds_and_the_other_waits(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    log, path = tmp_path / "log", tmp_path / "k" / "x"
    tasks = [context.Process(target=_slow_build, args=(path, log)) for _ in range(3)]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join(600)
    assert [task.exitcode for task in tasks] == [0, 0, 0]
    assert len(log.read_text().splitlines()) == 1


def test_a_killed_builder_leaves_its_lock_free(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    log, path = tmp_path / "log", tmp_path / "k" / "x"
    task = context.Process(target=_slow_build, args=(path, log))
    task.start()
    while not log.exists():
        time.sleep(0.01)
    assert task.pid is not None
    os.kill(task.pid, signal.SIGKILL)
    task.join(600)
    assert not path.exists()
    made(path)  # waits for nobody
    assert manifest(path)["counts"] == {"rows": 1}


@pytest.mark.parametrize("waited", [False, True])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_kill_right_after_publication_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool, waited: bool
) -> None:
    path = tmp_path / "k" / "x"
    if overwrite:
        made(path, {**IDENTITY, "config": {}})

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(publishing, "_remove_rest", killed)
        with pytest.raises(KeyboardInterrupt):
            made(path, overwrite=overwrite)
    assert path.with_name(".x.plan.json").exists()
    assert path.with_name(".x.replaced").exists() == overwrite
    assert wanted(path).is_complete()
    if waited:  # for the lock of the one that was killed
        made(path, build=None)
    else:
        publishing.remove_rest(path)
    assert {file.name for file in path.parent.iterdir()} == {"x", ".x.lock", ".x.checked.json"}


def test_the_work_of_an_attempt_to_replace_an_artifact_stays(tmp_path: Path) -> None:
    path = tmp_path / "k" / "x"
    made(path)

    def stops(folder: Path) -> dict[str, Any]:
        (folder / "a.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(path, {**IDENTITY, "config": {}}, overwrite=True, build=stops)
    publishing.remove_rest(path)
    assert (path.with_name(".x.partial") / "a.txt").read_text() == "half"
    assert path.with_name(".x.plan.json").exists()


@pytest.mark.parametrize("reason", [errno.EROFS, errno.EACCES])
def test_a_folder_without_write_access_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int) -> None:
    def refuse(**_: Any) -> None:  # root may write everywhere
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(publishing.tempfile, "TemporaryFile", refuse)
    with pytest.raises(StageError, match=r"nothing can be written to .*paths.artifacts="):
        made(tmp_path / "k" / "x")


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("a file")
    with pytest.raises(StageError, match=r"nothing can be written to .*paths.artifacts="):
        made(tmp_path / "k" / "x")


@pytest.mark.parametrize("window", ["hashing", "writing the manifest", "renaming"])
def test_a_kill_during_publication_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: str) -> None:
    """What is built is not built again, and not mistaken for another artifact."""
    path = tmp_path / "k" / "x"

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    original = publishing.write_json
    with monkeypatch.context() as patched:
        if window == "hashing":
            patched.setattr(manifests, "sha256", killed)
        elif window == "renaming":
            patched.setattr(publishing.os, "rename", killed)
        else:
            at_manifest = lambda file, value: (killed if file.name == "manifest.json" else original)(file, value)  # noqa: E731
            patched.setattr(publishing, "write_json", at_manifest)
        with pytest.raises(KeyboardInterrupt):
            made(path)
    assert not path.exists()
    with pytest.raises(StageError, match="was started with other settings or inputs"):
        made(path, {**IDENTITY, "config": {"max_tokens": 1}})
    made(path, build=None)
    assert manifest(path)["counts"] == {"rows": 1}
    assert manifest(path)["files"].keys() == {"part/a.txt"}


def test_torn_files_of_a_killed_write_are_not_published(tmp_path: Path) -> None:
    def torn(folder: Path) -> dict[str, Any]:
        (folder / ".a.parquet.123.tmp").write_text("half")
        return build(folder)

    assert made(tmp_path / "k" / "x", build=torn)["files"].keys() == {"part/a.txt"}


def test_followers_wait_take_part_and_hear_of_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    path = tmp_path / "k" / "x"
    joined: list[Path] = []

    def follow() -> None:
        folder = wait_until_started(wanted(path))
        assert folder is not None
        joined.append(folder)
        wait_until_published(wanted(path))

    follower = threading.Thread(target=follow)

    def slowly(folder: Path) -> dict[str, Any]:
        while not joined:
            time.sleep(0.01)
        return build(folder)

    follower.start()
    made(path, build=slowly)
    follower.join(600)
    assert not follower.is_alive()
    assert joined == [path.with_name(".x.partial")]

    def fails(_: Path) -> dict[str, Any]:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        made(tmp_path / "k" / "y", build=fails)
    with pytest.raises(StageError, match="the first process failed"):
        wait_until_published(wanted(tmp_path / "k" / "y"))


@pytest.mark.parametrize("changed", [True, False])
def test_files_made_from_another_model_are_not_reused(tmp_path: Path, changed: bool) -> None:
    path = tmp_path / "ratings" / "x"

    def asked(source: str, corpus: str) -> Artifact:
        sources = {"rater.from_pretrained": source}
        return Artifact(path, "rate", {"corpus": corpus}, {"a": 1}, sources=sources, overwrite=True)

    def write(folder: Path) -> dict[str, Any]:
        (folder / "shard").write_text("ratings")
        return {}

    publish(asked("1 files, 01", "corpora/x (01)"), write)
    found: list[str] = []

    def look(folder: Path) -> dict[str, Any]:
        found.extend(file.name for file in folder.iterdir())
        return {}

    with publishing.building(
        asked("1 files, 02" if changed else "1 files, 01", "corpora/x (02)"), reusable=["shard"]
    ) as work:
        work.counts = look(work.folder)
    assert found == ([] if changed else ["shard"])


def test_the_manifest_says_in_how_many_attempts_and_on_which_machine(tmp_path: Path) -> None:
    """A plan estimates later runs by it: the seconds of an attempt that went on are not those of the whole work."""
    path, failures = tmp_path / "models" / "rater", [KeyboardInterrupt(), None]

    def attempt(folder: Path) -> dict[str, Any]:
        (folder / "weights.txt").write_text("half")
        if error := failures.pop(0):
            raise error
        return {"rows": 1}

    assert publishing.started(wanted(path)) == {}
    with pytest.raises(KeyboardInterrupt):
        publish(wanted(path), attempt)
    assert publishing.started(wanted(path))["attempts"] == 1
    made = publish(wanted(path), attempt)
    assert made is not None
    assert made["machine"]["attempts"] == 2
    assert made["machine"]["cpu_seconds"] >= 0
    assert made["machine"]["processes"] == 1
    assert not made["machine"]["is_share"]
    assert publishing.started(wanted(path)) == {}
