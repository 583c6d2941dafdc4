"""What settings name counts by its content: files, models, tokenizers and data sets."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub, point_to, serving
from hydra import compose
from omegaconf import DictConfig, OmegaConf
from ports import NOBODY_LISTENS

from qurating.artifacts.artifact import Artifact
from qurating.artifacts.identity import changes, identifying_settings
from qurating.artifacts.publishing import building
from qurating.corpus.files import named_files
from qurating.pipeline import preflight, sources
from qurating.pipeline.run import run_stage
from qurating.pipeline.sources import listing
from qurating.runtime import revisions
from qurating.runtime.errors import StageError

LINE = '{"text": "a", "score": 1}\n'
OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder and the working folder; the Hub is not asked."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    revisions._commits.clear()
    with serving(tmp_path, monkeypatch) as server:
        yield server
    revisions._commits.clear()


def identity(config: DictConfig, stage: str) -> dict[str, Any]:
    given: Any = OmegaConf.to_container(config.stages[stage], resolve=True)
    given = {key: value for key, value in given.items() if key not in ("inputs", "fetches", "runtime")}
    settings = identifying_settings(given, config.stages[stage].get("runtime", []))
    return {"config": settings, "sources": sources.fingerprints(config, stage)}


def composed(stage: str, overrides: list[str]) -> DictConfig:
    return compose("config", [f"stage=[{stage}]", *overrides])


LQS = "+experiment=lqs_scorer"
FOLDERS = [
    ("prepare_corpus", ["corpus.tokenizer={}"]),
    ("prepare_corpus", ["corpus=hub", "corpus.dataset={}"]),
    ("rate", ["rater.from_pretrained={}"]),
    ("train_rater", ["rater=sheared_llama_1.3b", "rater.network.name_or_path={}"]),
    ("train_scorer", ["scorer=fairseq_125m", "scorer.network.name_or_path={}"]),
    ("score", ["scorer.from_pretrained={}"]),
    ("annotate_proxy", ["annotation.model={}"]),
    ("measure_perplexity", ["perplexity=pretrained", "perplexity.from_pretrained={}"]),
    ("train_lm", ["model.from_pretrained={}"]),
]
FILES = [
    ("prepare_corpus", ["corpus=jsonl", "corpus.paths={}"]),
    ("prepare_corpus", ["corpus=parquet", "corpus.paths={}"]),
    ("prepare_corpus", ["corpus=hub", "corpus.dataset=json", "corpus.data_files={}"]),
    ("prepare_corpus", ["corpus.tokenizer={}"]),
    ("prepare_target", ["target=jsonl", "target.paths={}"]),
    ("import_judgments", ["judge=released", "judge.paths={}"]),
    ("import_ratings", ["ratings={}"]),
    ("judge", ["judge=local", "judge.gguf={}"]),
    ("judge", ["judge.ranking={}"]),
    ("judge", ["judge.prompt={}"]),
    ("judge", ["criteria.writing_style.prompt={}"]),
    ("measure_perplexity", ["perplexity=kenlm", "perplexity.kenlm={}"]),
    ("order_lines", ["stages.order_lines.paths={}"]),
    ("check_subset", ["stages.check_subset.evaluation_paths={}"]),
]


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize(
    ("stage", "overrides"), FOLDERS, ids=lambda value: value[-1] if isinstance(value, list) else value
)
@pytest.mark.parametrize("place", ["~/of mine", "{home}/of[1]mine", "sub/../mine/."])
def test_an_edit_in_a_folder_makes_another_artifact(stage: str, overrides: list[str], place: str, home: Path) -> None:
    place = place.format(home=home)
    (home / "sub").mkdir()
    folder = Path(place).expanduser()
    folder.mkdir()
    (folder / "config.json").write_text('{"a": 1}')
    given = [override.format(f"'{place}'") for override in overrides]
    before = identity(composed(stage, given), stage)
    assert changes(before, identity(composed(stage, given), stage)) == []
    (folder / "config.json").write_text('{"a": 2}')
    assert changes(before, identity(composed(stage, given), stage))
    # and a file that is added, deeper
    before = identity(composed(stage, given), stage)
    (folder / "more").mkdir()
    (folder / "more/tokens.txt").write_text("x")
    assert changes(before, identity(composed(stage, given), stage))


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize(
    ("stage", "overrides"), FILES, ids=lambda value: value[-1] if isinstance(value, list) else value
)
@pytest.mark.parametrize("place", ["~/of mine.jsonl", "{home}/of[1]mine.jsonl"])
def test_an_edit_of_a_file_makes_another_artifact(stage: str, overrides: list[str], place: str, home: Path) -> None:
    place = place.format(home=home)
    file = Path(place).expanduser()
    given = [override.format(f"'{place}'") for override in overrides]
    if "tokenizer" not in overrides[-1]:
        missing, *_ = sources.missing_files(composed(stage, given), stage)
        named = overrides[-1].split("=")[0]
        assert missing == {"ratings": "stages.import_ratings.paths"}.get(named, named)
    file.write_text("one")
    assert sources.missing_files(composed(stage, given), stage) == {}
    before = identity(composed(stage, given), stage)
    assert changes(before, identity(composed(stage, given), stage)) == []
    file.write_text("two")
    assert changes(before, identity(composed(stage, given), stage))


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize("setting", ["judge.ranking", "judge.prompt"])
def test_relative_paths_of_a_judge_are_of_the_working_directory(setting: str, home: Path) -> None:
    given = [f"{setting}=mine.jsonl"]
    assert sources.missing_files(composed("judge", given), "judge").keys() >= {setting}
    (home / "mine.jsonl").write_text("one")
    assert sources.missing_files(composed("judge", given), "judge") == {}
    before = identity(composed("judge", given), "judge")
    (home / "mine.jsonl").write_text("two")
    assert changes(before, identity(composed("judge", given), "judge"))


@pytest.mark.usefixtures("conf")
def test_order_lines_notices_an_edit_of_a_file_in_the_home_folder(home: Path) -> None:
    """The fingerprint was of no file: the lines of the first run were kept."""
    file = home / "it[em]s.jsonl"
    file.write_text(LINE * 10)
    for path in ("~/it[em]s.jsonl", "it[em]s.jsonl"):
        given = ["stage=[order_lines]", f"stages.order_lines.paths='{path}'", f"paths.artifacts={home}/artifacts"]
        given.append("overwrite=true")
        config = compose("config", given)
        made = run_stage("order_lines", config, "[1/1]")
        assert len((made / "lines.jsonl").read_text().splitlines()) == 10
        file.write_text(LINE * 4)
        with pytest.raises(StageError, match=r"config\.files: '1 files, .*' before, '1 files, .*' now"):
            run_stage("order_lines", compose("config", given[:-1]), "[1/1]")
        made = run_stage("order_lines", compose("config", given), "[1/1]")
        assert len((made / "lines.jsonl").read_text().splitlines()) == 4
        file.write_text(LINE * 10)


def test_a_listing_is_of_names_and_contents(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = home / "a.jsonl"
    file.write_text("{}\n", encoding="utf-8")
    before = listing(str(home / "*.jsonl"))
    assert before == "1 files, 063867f8b2e6e6eb"  # as earlier versions have recorded it
    assert before == listing([str(file)]) == listing("~/*.jsonl") == listing("a.jsonl")
    file.write_text("{}\n{}\n", encoding="utf-8")
    assert listing(str(file)) != before
    file.write_text("tox")
    edited = listing(str(file))
    file.write_text("fox")
    os.utime(file, ns=(1, 1))
    assert listing(str(file)) != edited  # of the same size
    assert listing(None) is None
    assert listing([]) == "0 files, e3b0c44298fc1c14"
    assert listing("nothing-*") == "absent"


def test_files_of_one_name_count_with_their_folders(home: Path) -> None:
    for folder in ("a", "b", "c"):
        (home / folder).mkdir()
        (home / folder / "x.jsonl").write_text(folder)
    first = listing(["a/x.jsonl", "b/x.jsonl"])
    (home / "b").rename(home / "d")  # the ids of documents have the folder in them
    assert listing(["a/x.jsonl", "d/x.jsonl"]) != first


def test_large_files_count_by_name_size_and_time(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_READ_BYTES", 2)
    file = home / "a.bin"
    file.write_text("tox")
    os.utime(file, ns=(1, 1))
    before = listing("a.bin")
    assert before is not None
    assert before.startswith("1 files by name, size and time, ")
    os.utime(file, ns=(1, 1))
    assert listing("a.bin") == before
    file.write_text("fox")
    assert listing("a.bin") != before


def test_contents_are_read_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "a.jsonl").write_text("once")
    before = listing("a.jsonl")
    monkeypatch.setattr("hashlib.file_digest", None)  # it would be called
    assert listing("a.jsonl") == before


def of_folder(folder: Path) -> str:
    return sources._of_path(folder)


def test_an_artifact_counts_by_its_fingerprint(home: Path) -> None:
    path = home / "models/mine"
    with building(Artifact(path, "train_rater", {}, {})) as work:
        (work.folder / "weights.bin").write_text("abc")
        work.counts = {}
    made = json.loads((path / "manifest.json").read_text())
    assert of_folder(path) == f"artifact {made['fingerprint'][:16]}"
    (path / "weights.bin").write_text("abcd")  # damaged: by content
    assert of_folder(path).startswith("2 files, ")
    (path / "weights.bin").write_text("abc")
    (path / "added_tokens.json").write_text("{}")
    assert of_folder(path).startswith("3 files, ")
    (path / "added_tokens.json").unlink()
    (path / "manifest.json").write_text("[]")  # of another program
    assert of_folder(path).startswith("2 files, ")


def test_hidden_files_do_not_count(home: Path) -> None:
    (home / "m/.cache").mkdir(parents=True)
    (home / "m/config.json").write_text("{}")
    before = of_folder(home / "m")
    (home / "m/.cache/metadata").write_text("time of the download")
    assert of_folder(home / "m") == before


TOKENIZER = ["corpus=hub", "corpus.dataset=lab/data", "corpus.tokenizer=lab/open"]


@pytest.mark.usefixtures("conf")
def test_names_of_the_hub_count_by_their_commits(hub: Hub) -> None:
    hub.commits = {
        "/api/models/lab/open": OLD,
        "/api/models/lab/open/revision/v1": NEW,
        "/api/datasets/lab/data": NEW,
        "/api/datasets/lab/data/revision/v2": OLD,
    }
    found = sources.fingerprints(composed("prepare_corpus", TOKENIZER), "prepare_corpus")
    assert found == {"corpus.tokenizer": f"commit {OLD}", "corpus.dataset": f"commit {NEW}"}
    given = ["corpus=hub", "corpus.dataset=lab/data@v2", "corpus.tokenizer=lab/open@v1"]
    found = sources.fingerprints(composed("prepare_corpus", given), "prepare_corpus")
    assert found == {"corpus.tokenizer": f"commit {NEW}", "corpus.dataset": f"commit {OLD}"}
    files = "[hf://datasets/lab/data@v2/a.jsonl,https://x.org/a.jsonl]"
    given = ["corpus=hub", "corpus.dataset=json", f"corpus.data_files={files}"]
    assert sources.fingerprints(composed("prepare_corpus", given), "prepare_corpus") == {
        "corpus.data_files hf://datasets/lab/data@v2/a.jsonl": f"commit {OLD}",
        "corpus.data_files https://x.org/a.jsonl": "unknown: an address counts by its name",
    }


def complete(home: Path, recorded: dict[str, str]) -> DictConfig:
    """A config, and its corpus as if made from sources with these fingerprints."""
    config = composed("prepare_corpus", [*TOKENIZER, f"paths.artifacts={home}/artifacts"])
    settings: Any = OmegaConf.to_container(config.stages.prepare_corpus, resolve=True)
    runtime = settings.pop("runtime")
    del settings["inputs"], settings["fetches"]
    path = home / "artifacts" / config.artifacts.prepare_corpus
    with building(Artifact(path, "prepare_corpus", {}, settings, runtime, recorded)) as work:
        work.counts = {}
    return config


@pytest.mark.usefixtures("conf")
def test_another_commit_is_another_corpus(hub: Hub, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.commits = {"/api/models/lab/open": OLD, "/api/datasets/lab/data": OLD}
    config = complete(home, {"corpus.tokenizer": f"commit {OLD}", "corpus.dataset": f"commit {OLD}"})
    run_stage("prepare_corpus", config, "[1/1]")
    said = capsys.readouterr().out
    assert "skipped: complete since" in said
    assert "not compared" not in said
    revisions._commits.clear()
    hub.commits["/api/models/lab/open"] = NEW
    wanted = rf"sources\.corpus\.tokenizer: 'commit {OLD}' before, 'commit {NEW}' now(.|\n)*leave prepare_corpus out of"
    with pytest.raises(StageError, match=wanted):
        run_stage("prepare_corpus", config, "[1/1]")


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize("is_recorded", [True, False])
def test_what_cannot_be_compared_is_told(
    hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_recorded: bool
) -> None:
    hub.commits = {"/api/models/lab/open": OLD, "/api/datasets/lab/data": OLD}
    recorded = {"corpus.tokenizer": f"commit {OLD}", "corpus.dataset": f"commit {OLD}"} if is_recorded else {}
    config = complete(home, recorded)
    if is_recorded:
        point_to(NOBODY_LISTENS, monkeypatch)
    run_stage("prepare_corpus", config, "[1/1]")
    said = capsys.readouterr().out
    reason = "ConnectError: " if is_recorded else "its commit was not recorded"
    assert f"    counted as unchanged, not compared: corpus.tokenizer ({reason}" in said
    assert f"    counted as unchanged, not compared: corpus.dataset ({reason}" in said


@pytest.mark.usefixtures("conf")
def test_a_folder_that_is_gone_or_was_not_recorded_is_not_the_same(hub: Hub, home: Path) -> None:
    hub.commits = {"/api/datasets/lab/data": OLD}
    config = complete(home, {"corpus.tokenizer": "5 files, 0123456789abcdef", "corpus.dataset": f"commit {OLD}"})
    wanted = r"sources\.corpus\.tokenizer: '5 files, 0123456789abcdef' before, 'unknown: .*' now"
    with pytest.raises(StageError, match=wanted):
        run_stage("prepare_corpus", config, "[1/1]")
    (home / "lab/open").mkdir(parents=True)
    config = complete(home / "old", {})
    wanted = r"sources\.corpus\.tokenizer: 'not recorded' before, '0 files, .*' now"
    with pytest.raises(StageError, match=wanted):
        run_stage("prepare_corpus", config, "[1/1]")


@pytest.mark.usefixtures("conf")
def test_a_demo_names_nothing_and_asks_nobody(hub: Hub, home: Path) -> None:
    config = compose("config", [])
    for stage in config.stages:
        assert sources.fingerprints(config, stage) == {}
    assert not hub.asked
    assert "sources" not in Artifact(home / "x/y", "select", {}, {}).identity
    untold = Artifact(home / "x/y", "rate", {}, {}, sources={"a": "unknown: Request ID 123", "b": "1 files, 01"})
    assert untold.identity["sources"] == {"a": "unknown", "b": "1 files, 01"}


@pytest.mark.usefixtures("conf")
def test_a_label_of_a_model_in_the_home_folder_is_inherited(home: Path) -> None:
    from qurating.pipeline.run import _labels_of

    (home / "mine").mkdir()
    (home / "mine/manifest.json").write_text('{"labels": ["simulated judge"]}')
    assert _labels_of("rate", composed("rate", ["rater.from_pretrained='~/mine'"])) == {"simulated judge"}
    assert _labels_of("train_lm", composed("train_lm", ["model.from_pretrained='~/mine'"])) == {"simulated judge"}


@pytest.mark.usefixtures("conf")
def test_an_entry_of_fetches_is_the_name_of_a_setting() -> None:
    config = composed("rate", ["stages.rate.fetches.models=[lab/rater]"])
    with pytest.raises(StageError, match=r"conf/stage/rate\.yaml: fetches\.models has 'lab/rater'; it lists the names"):
        sources.settings(config, "rate", "models")


@pytest.mark.usefixtures("conf")
def test_one_pattern_of_several_that_matches_nothing_is_told_before_any_work(home: Path) -> None:
    (home / "a.jsonl").write_text(LINE)
    paths = "[a.jsonl,b-*.jsonl]"
    config = composed("order_lines", [f"stages.order_lines.paths={paths}", f"paths.artifacts={home}"])
    with pytest.raises(StageError, match=r"stages\.order_lines\.paths: no file matches b-\*\.jsonl.*name other files"):
        preflight.check_files(config, ["order_lines"])


@pytest.mark.parametrize(
    ("value", "files"),
    [
        (None, None),
        ("ratings/rater-by-x,lr=0.1", None),
        ("ratings/select[a,b]_temperature2.0", None),
        ("mine/own-scores", None),
        ("scores", "scores"),
        ("scores.parquet", "scores.parquet"),
        ("data/scores.parquet", "data/scores.parquet"),
        ("data/scores.jsonl.zst", "data/scores.jsonl.zst"),
        ("data/scores.csv", "data/scores.csv"),
        ("data/*", "data/*"),
        (5, "5"),
        ("/data/scores", "/data/scores"),
        ("./data/scores", "./data/scores"),
        ("~/scores", "~/scores"),
        ("a/b/c", "a/b/c"),
        (["a/b", "c/d"], ["a/b", "c/d"]),
        (["data/scores.json"], "data/scores.json"),
    ],
)
def test_files_and_names_of_artifacts(value: Any, files: Any) -> None:
    assert sources.given_files(value) == files


def test_a_folder_stands_for_its_tables(tmp_path: Path) -> None:
    folder = tmp_path / "own[1]"
    (folder / "below").mkdir(parents=True)
    assert sources.given_files(str(folder)) == str(folder)
    (folder / "a.jsonl").write_text("{}")
    (folder / "b.jsonl.gz").write_text("{}")
    (folder / "notes.txt").write_text("")

    def found() -> list[str]:
        given = sources.given_files(str(folder) + "/")
        assert given is not None
        return [name for _, name in named_files(given)]

    assert found() == ["a.jsonl", "b.jsonl.gz"]
    (folder / "below/c.parquet").write_text("")
    assert found() == ["c.parquet"]
