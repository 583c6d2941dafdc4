"""The judge stage as `run_stage` runs it: its response logs outlive the judgments, and failures are asked again."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose
from judge_fixtures import endpoint, logprob_reply, real_corpus, respond

from qurating.artifacts.artifact import Artifact
from qurating.artifacts.manifest import manifest, sealed
from qurating.artifacts.publishing import building
from qurating.pipeline.run import run_stage
from qurating.runtime.errors import StageError

OTHERS = ("writing_style", "required_expertise", "facts_and_trivia")


class Server:
    """Counts requests, and answers those of the numbers in `prose` without a label."""

    def __init__(self) -> None:
        self.num_asked = 0
        self.prose: set[int] = set()

    def __call__(self, call: dict[str, Any]) -> Any:
        self.num_asked += 1
        return respond(logprob_reply({"Well": -0.1} if self.num_asked in self.prose else {"A": -0.5, "B": -1.0}))

    def asked(self) -> int:
        found, self.num_asked = self.num_asked, 0
        return found


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(
        "qurating.reports.style.save", lambda figure, path: path.parent.mkdir(exist_ok=True) or "<svg/>"
    )
    with building(Artifact(tmp_path / "corpora" / "embedded", "prepare_corpus", {}, {})) as work:
        shutil.copytree(real_corpus(tmp_path / "c", 30), work.folder, dirs_exist_ok=True)
        work.counts = {}
    return tmp_path


@contextlib.contextmanager
def judging(root: Path) -> Iterator[tuple[Server, Any]]:
    """A server, and a function that judges by it and returns the counts."""
    server = Server()
    with endpoint(server) as url:

        def judged(*overrides: str) -> dict[str, Any]:
            given = ["stage=[judge]", "judge=endpoint", f"judge.base_url={url}", "judge.model=m", "judge.name=m"]
            given += [f"paths.artifacts={root}", "judge.max_snippet_tokens=64", "judge.max_concurrency=1"]
            given += [f"~criterion@criteria.{name}" for name in OTHERS]
            folder = run_stage("judge", compose("config", [*given, "judge.num_pairs=10", *overrides]), "[1/1]")
            counts: dict[str, Any] = manifest(folder)["counts"]
            return counts

        yield server, judged


@pytest.mark.usefixtures("conf")
def test_other_judgments_and_overwritten_ones_ask_only_what_is_new(root: Path) -> None:
    with judging(root) as (server, judged):
        judged()
        assert server.asked() == 20
        assert len(list((root / "responses").glob("*.jsonl"))) == 1
        assert judged("judge.num_pairs=13", "overwrite=true")["found_again"] == 20
        assert server.asked() == 6
        assert judged("artifacts.judge=judgments/other")["found_again"] == 20
        shutil.rmtree(root / "judgments")
        judged("judge.reuse_answers=true")
        assert server.asked() == 0
        judged("judge.reuse_answers=false")  # complete: nothing is asked
        assert server.asked() == 0


@pytest.mark.usefixtures("conf")
def test_failures_of_published_judgments_are_asked_again_as_long_as_their_answers_are_known(root: Path) -> None:
    with judging(root) as (server, judged):
        server.prose = {7}
        assert judged()["failed_requests"] == 1
        server.asked()
        counts = judged("judge.retry_failed=true")
        assert (server.asked(), counts["failed_requests"], counts["found_again"]) == (0 + 1, 0, 19)
        judged("judge.retry_failed=true")  # nothing has failed any more
        assert server.asked() == 0


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize("earlier", [True, False])
def test_failures_whose_answers_are_unknown_are_not_asked_again(root: Path, earlier: bool) -> None:
    """All would be asked, and paid: nothing is, if an earlier version drew other pairs, or if the logs are gone."""
    with judging(root) as (server, judged):
        server.prose = {7}
        judged()
        server.asked()
        if earlier:
            file = root / "judgments" / "m" / "manifest.json"
            made = json.loads(file.read_text())
            del made["counts"]["found_again"]
            content = {key: value for key, value in made.items() if key not in ("fingerprint", "checksum")}
            file.write_text(json.dumps(sealed(content)))
        else:
            shutil.rmtree(root / "responses")
        with pytest.raises(StageError, match="which drew other pairs" if earlier else "has no response log any more"):
            judged("judge.retry_failed=true")
        assert server.asked() == 0
